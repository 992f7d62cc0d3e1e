"""A plain PyTorch Qwen2 for training: parameter names and arithmetic are those of `Qwen2ForCausalLM`."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class ModelConfig:
    """The sizes of the model, named as in a checkpoint's config.json."""

    vocab_size: int
    hidden_size: int = 192
    intermediate_size: int = 512
    num_hidden_layers: int = 4
    num_attention_heads: int = 3
    num_key_value_heads: int = 3
    max_position_embeddings: int = 2048
    rope_theta: float = 1000000.0
    rms_norm_eps: float = 1e-6

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads


@dataclass
class KVCache:
    """Keys and values of one batch: per layer [rows, kv heads, max_len, head_dim]."""

    max_len: int
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def put(self, layer: int, k: Tensor, v: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Write k and v [rows, kv heads, length, head_dim] at `positions` [rows, length]; return the whole layer."""
        if layer == len(self.keys):
            shape = (k.shape[0], k.shape[1], self.max_len, k.shape[3])
            self.keys.append(k.new_zeros(shape))
            self.values.append(v.new_zeros(shape))
        index = positions[:, None, :, None].expand_as(k)
        self.keys[layer].scatter_(2, index, k)
        self.values[layer].scatter_(2, index, v)
        return self.keys[layer], self.values[layer]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding, half-split; x [rows, heads, length, head_dim], cos and sin [rows, 1, length, head_dim]."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


class Attention(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        self.groups = config.num_attention_heads // config.num_key_value_heads
        kv_size = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, kv_size)
        self.v_proj = nn.Linear(config.hidden_size, kv_size)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], positions: Tensor, cache: KVCache | None) -> Tensor:
        rows, length, size = x.shape
        q, k, v = (
            p(x).view(rows, length, -1, self.head_dim).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, *rope), rotate(k, *rope)
        mask = None
        if cache is not None:
            k, v = cache.put(self.layer, k, v, positions)
            mask = (torch.arange(cache.max_len, device=x.device) <= positions[:, :, None])[:, None]
        if self.groups > 1:
            k, v = k.repeat_interleave(self.groups, 1), v.repeat_interleave(self.groups, 1)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        out: Tensor = self.o_proj(y.transpose(1, 2).reshape(rows, length, size))
        return out


class MLP(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], positions: Tensor, cache: KVCache | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rope, positions, cache)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Backbone(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)


class Qwen2(nn.Module):
    """The language model; embeddings are tied, so the output projection is the embedding matrix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        half = torch.arange(0, config.head_dim, 2) / config.head_dim
        self.inv_freq = config.rope_theta ** -half.float()
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.04 if "embed" in name else p.shape[1] ** -0.5 * 0.7)
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    nn.init.zeros_(p)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def hidden(self, ids: Tensor, positions: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Final hidden states [rows, length, hidden] of ids [rows, length]; padding must be on the right."""
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        angles = positions[:, None, :, None].float() * self.inv_freq.to(ids.device)
        angles = torch.cat((angles, angles), dim=-1)
        rope = angles.cos(), angles.sin()
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, rope, positions, cache)
        out: Tensor = self.model.norm(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [..., vocab] of hidden states [..., hidden]."""
        return functional.linear(hidden, self.model.embed_tokens.weight)


def nucleus_sample(logits: Tensor, temperature: float, top_p: float) -> Tensor:
    """One token id per row of logits [rows, vocab]; temperature 0 takes the largest."""
    if temperature == 0:
        return logits.argmax(-1)
    probs, order = (logits / temperature).softmax(-1).sort(descending=True)
    probs = probs.masked_fill(probs.cumsum(-1) - probs > top_p, 0)
    return order.gather(1, torch.multinomial(probs, 1)).squeeze(1)


@torch.inference_mode()
def generate(
    model: Qwen2,
    prompts: Sequence[Sequence[int]],
    stop_ids: frozenset[int],
    max_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
) -> list[list[int]]:
    """Continue each prompt as one batch; a stop token ends its row and is not returned."""
    device = model.model.embed_tokens.weight.device
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    longest = int(lengths.max())
    ids = torch.zeros((len(prompts), longest), dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    cache = KVCache(longest + max_tokens)
    positions = torch.arange(longest, device=device).expand_as(ids)
    last = model.hidden(ids, positions, cache)[torch.arange(len(prompts)), lengths - 1]
    outputs: list[list[int]] = [[] for _ in prompts]
    running = set(range(len(prompts)))
    for step in range(max_tokens):
        token = nucleus_sample(model.logits(last), temperature, top_p)
        for row in tuple(running):
            if (value := int(token[row])) in stop_ids:
                running.discard(row)
            else:
                outputs[row].append(value)
        if not running:
            break
        last = model.hidden(token[:, None], (lengths + step)[:, None], cache)[:, 0]
    return outputs
