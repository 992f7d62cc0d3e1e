"""What Qwen v1 and Baichuan compute, written out head by head and place by place, for comparison.

After `modeling_qwen.py` of Qwen/Qwen-7B, and `modeling_baichuan.py` of baichuan-inc/Baichuan2-7B-Base and 13B-Base.
There is no cache here: each call evaluates a whole sequence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from tests.engines.native.checkpoints import Tensors

Rotation = Callable[[Tensor, int], Tensor]
Bias = Callable[[int, int, int], float]


def qwen_logits(config: Mapping[str, Any], tensors: Tensors, token_ids: list[int], num_prompt_tokens: int) -> Tensor:
    """[tokens, vocab] of a sequence whose first tokens were its prompt."""
    head_dim, base = config["kv_channels"], float(config["rotary_emb_base"])
    length = config["seq_length"]
    if config["use_dynamic_ntk"]:
        context_value = math.log(num_prompt_tokens / length, 2) + 1
        alpha = max(2 ** math.ceil(context_value) - 1, 1)
        base *= alpha ** (head_dim / (head_dim - 2))

    def scale(place: int) -> float:
        num_tokens = place + 1
        return math.log(num_tokens, length) if config["use_logn_attn"] and num_tokens > length else 1.0

    hidden = tensors["transformer.wte.weight"][token_ids]
    for layer in range(config["num_hidden_layers"]):
        weights = _layer(tensors, f"transformer.h.{layer}.")
        x = _rms_norm(hidden, weights["ln_1.weight"], config["layer_norm_epsilon"])
        qkv = x @ weights["attn.c_attn.weight"].T + weights["attn.c_attn.bias"]
        q, k, v = qkv.chunk(3, dim=1)
        q, k = (_rotated(part, head_dim, base) for part in (q, k))
        q = torch.stack([row * scale(place) for place, row in enumerate(q)])
        attended = _attend(q, k, v, head_dim, lambda head, query, key: 0.0)
        hidden = hidden + attended @ weights["attn.c_proj.weight"].T
        x = _rms_norm(hidden, weights["ln_2.weight"], config["layer_norm_epsilon"])
        one, two = x @ weights["mlp.w1.weight"].T, x @ weights["mlp.w2.weight"].T
        hidden = hidden + (one * _silu(two)) @ weights["mlp.c_proj.weight"].T
    hidden = _rms_norm(hidden, tensors["transformer.ln_f.weight"], config["layer_norm_epsilon"])
    return hidden @ tensors["lm_head.weight"].T


def baichuan_logits(
    config: Mapping[str, Any], tensors: Tensors, token_ids: list[int], has_alibi: bool, normalises_head: bool
) -> Tensor:
    """[tokens, vocab]."""
    num_heads = config["num_attention_heads"]
    head_dim = config["hidden_size"] // num_heads
    slopes = alibi_slopes(num_heads)

    def bias(head: int, query: int, key: int) -> float:
        return slopes[head] * (key - query) if has_alibi else 0.0

    hidden = tensors["model.embed_tokens.weight"][token_ids]
    for layer in range(config["num_hidden_layers"]):
        weights = _layer(tensors, f"model.layers.{layer}.")
        x = _rms_norm(hidden, weights["input_layernorm.weight"], config["rms_norm_eps"])
        q, k, v = (x @ weights["self_attn.W_pack.weight"].T).chunk(3, dim=1)
        if not has_alibi:
            q, k = (_rotated(part, head_dim, 10000.0) for part in (q, k))
        hidden = hidden + _attend(q, k, v, head_dim, bias) @ weights["self_attn.o_proj.weight"].T
        x = _rms_norm(hidden, weights["post_attention_layernorm.weight"], config["rms_norm_eps"])
        gate, up = x @ weights["mlp.gate_proj.weight"].T, x @ weights["mlp.up_proj.weight"].T
        hidden = hidden + (_silu(gate) * up) @ weights["mlp.down_proj.weight"].T
    hidden = _rms_norm(hidden, tensors["model.norm.weight"], config["rms_norm_eps"])
    head = tensors["lm_head.weight"]
    if normalises_head:
        head = torch.stack([row / row.square().sum().sqrt() for row in head])
    return hidden @ head.T


def alibi_slopes(num_heads: int) -> list[float]:
    """The slopes as the paper's authors' code gives them."""

    def of_power_of_two(count: int) -> list[float]:
        start = 2 ** (-(2 ** -(math.log2(count) - 3)))
        return [start * start**head for head in range(count)]

    if math.log2(num_heads).is_integer():
        return of_power_of_two(num_heads)
    closest = 2 ** math.floor(math.log2(num_heads))
    return of_power_of_two(closest) + alibi_slopes(2 * closest)[0::2][: num_heads - closest]


def _layer(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.square().mean(1, keepdim=True) + eps).sqrt() * weight


def _silu(x: Tensor) -> Tensor:
    return x / (1 + (-x).exp())


def _rotated(x: Tensor, head_dim: int, base: float) -> Tensor:
    """Each pair of a head's halves is a complex number, turned by its place."""
    places = torch.arange(len(x), dtype=torch.float64)
    speeds = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    turns = torch.polar(torch.ones(1, dtype=torch.float64), torch.outer(places, speeds))
    heads = []
    for head in torch.split(x.double(), head_dim, dim=1):
        turned = torch.complex(*head.chunk(2, dim=1)) * turns
        heads += [turned.real, turned.imag]
    return torch.cat(heads, dim=1).to(x.dtype)


def _attend(q: Tensor, k: Tensor, v: Tensor, head_dim: int, bias: Bias) -> Tensor:
    outputs = []
    for head, (queries, keys, values) in enumerate(
        zip(*(torch.split(part, head_dim, dim=1) for part in (q, k, v)), strict=True)
    ):
        rows = []
        for place, query in enumerate(queries):
            scores = keys[: place + 1] @ query / math.sqrt(head_dim)
            scores = scores + torch.tensor([bias(head, place, key) for key in range(place + 1)])
            rows.append(scores.softmax(0) @ values[: place + 1])
        outputs.append(torch.stack(rows))
    return torch.cat(outputs, dim=1)
