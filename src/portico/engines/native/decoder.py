"""The transformer decoder: one straight-line module for all families, with their differences as switches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from portico.core.freed_memory import give_back_freed_memory
from portico.engines.native.attention import Attention
from portico.engines.native.linear import LinearFactory
from portico.engines.native.quantization import (
    FOUR_BITS,
    compute_dtype,
    embedding_dtype,
    empty_matrix,
    is_quantized,
    matrix_shape,
)
from portico.engines.native.rope import RopeConfig, RotaryEmbedding, rotate


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Sizes and switches of a decoder.

    Attributes:
        ffn_size: width between the gate-up and down projections.
        max_position: tokens that the checkpoint was made for.
        rope: the rotary embedding, or None for linear biases of attention (ALiBi).
        has_tied_head: the output head is the embedding.
        has_qkv_bias: the query, key and value projections have a bias.
        has_qk_norm: queries and keys are normalised head by head, before they are rotated.
        has_normalised_head: the rows of the output head are scaled to length one.
        logn_length: queries behind so many tokens are scaled by the logarithm of their place to this base, or None.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_size: int
    norm_eps: float
    max_position: int
    rope: RopeConfig | None
    has_tied_head: bool
    has_qkv_bias: bool = False
    has_qk_norm: bool = False
    has_normalised_head: bool = False
    logn_length: int | None = None

    @property
    def num_matrix_weights(self) -> int:
        """Weights of the embedding and all projections; the head may be stored as one with the embedding."""
        attention = (self.qkv_heads + self.num_heads) * self.head_dim
        return self.hidden_size * (self.vocab_size + self.num_layers * (attention + 3 * self.ffn_size))

    @property
    def qkv_heads(self) -> int:
        """Query, key and value heads together."""
        return self.num_heads + 2 * self.num_kv_heads


@dataclass(slots=True)
class LayerWeights:
    """One layer; projections that read the same input are fused, row blocks in the order of their names.

    Attributes:
        attention_norm: [hidden].
        qkv: [(heads + 2 * kv_heads) * head_dim, hidden].
        qkv_bias: [(heads + 2 * kv_heads) * head_dim] or None.
        q_norm: [head_dim] or None.
        k_norm: [head_dim] or None.
        attention_out: [hidden, heads * head_dim].
        ffn_norm: [hidden].
        gate_up: [2 * ffn, hidden].
        down: [hidden, ffn].
    """

    attention_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    q_norm: Tensor | None
    k_norm: Tensor | None
    attention_out: Tensor
    ffn_norm: Tensor
    gate_up: Tensor
    down: Tensor


@dataclass(slots=True)
class DecoderWeights:
    """All weights. `embedding` and `head` are [vocab, hidden] and one tensor when they are tied."""

    embedding: Tensor
    layers: list[LayerWeights]
    final_norm: Tensor
    head: Tensor

    @classmethod
    def empty(cls, config: DecoderConfig, dtype: torch.dtype, device: torch.device) -> DecoderWeights:
        """Tensors of the right shapes, to be filled.

        With dtype int8 or int4 the projections are quantised matrices; the output head has eight bits with both.
        """

        def tensor(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=compute_dtype(dtype), device=device)

        def matrix(num_outputs: int, num_inputs: int) -> Tensor:
            if dtype in (torch.int8, FOUR_BITS):
                return empty_matrix(num_outputs, num_inputs, dtype)
            return torch.empty(num_outputs, num_inputs, dtype=dtype, device=device)

        hidden, qkv = config.hidden_size, config.qkv_heads * config.head_dim
        embedding = torch.empty(config.vocab_size, hidden, dtype=embedding_dtype(dtype), device=device)
        layers = [
            LayerWeights(
                attention_norm=tensor(hidden),
                qkv=matrix(qkv, hidden),
                qkv_bias=tensor(qkv) if config.has_qkv_bias else None,
                q_norm=tensor(config.head_dim) if config.has_qk_norm else None,
                k_norm=tensor(config.head_dim) if config.has_qk_norm else None,
                attention_out=matrix(hidden, config.num_heads * config.head_dim),
                ffn_norm=tensor(hidden),
                gate_up=matrix(2 * config.ffn_size, hidden),
                down=matrix(hidden, config.ffn_size),
            )
            for _ in range(config.num_layers)
        ]
        head = embedding
        if not config.has_tied_head:
            head = empty_matrix(config.vocab_size, hidden) if dtype is FOUR_BITS else matrix(config.vocab_size, hidden)
        return cls(embedding, layers, tensor(hidden), head)

    def tensors(self) -> Iterator[Tensor]:
        """Each tensor once."""
        yield self.embedding
        yield self.final_norm
        if self.head is not self.embedding:
            yield self.head
        for layer in self.layers:
            yield from (layer.attention_norm, layer.qkv, layer.attention_out)
            yield from (layer.ffn_norm, layer.gate_up, layer.down)
            yield from (each for each in (layer.qkv_bias, layer.q_norm, layer.k_norm) if each is not None)

    @property
    def num_bytes(self) -> int:
        """What they take."""
        return sum(tensor.nbytes for tensor in self.tensors())

    @property
    def num_parameters(self) -> int:
        """Count of weights."""
        return sum(
            math.prod(matrix_shape(tensor)) if is_quantized(tensor) else tensor.numel() for tensor in self.tensors()
        )


class _Layer:
    """The products of one layer."""

    def __init__(self, weights: LayerWeights, factory: LinearFactory) -> None:
        self.attention_norm = weights.attention_norm
        self.q_norm = weights.q_norm
        self.k_norm = weights.k_norm
        self.ffn_norm = weights.ffn_norm
        self.qkv = factory.linear(weights.qkv, weights.qkv_bias)
        self.attention_out = factory.linear(weights.attention_out)
        self.gate_up = factory.linear(weights.gate_up)
        self.down = factory.linear(weights.down)


class Decoder:
    """A loaded model: token ids to hidden states to logits.

    A row's result depends on that row's sequence alone, to the bit on a CPU. The layers of `weights` are taken over.
    With `needs_padding` a forward pass is cheapest with the numbers of rows that `linear.padded` gives. `on_layer` is
    called when a layer has been packed.
    """

    def __init__(
        self,
        config: DecoderConfig,
        weights: DecoderWeights,
        max_model_len: int,
        on_layer: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        # In the whole life, for those who look whether a pass gets on.
        self.num_layers_done = 0
        self.dtype = weights.final_norm.dtype
        self.device = weights.embedding.device
        self._weights = weights
        has_bytes = weights.layers[0].qkv.dtype is torch.int8
        self.needs_padding = self.device.type == "cpu" and not has_bytes
        factory = LinearFactory(has_bytes)
        # Packing makes copies: each layer's plain weights go before the next layer's are packed.
        plain, weights.layers = weights.layers[::-1], []
        self._layers: list[_Layer] = []
        while plain:
            self._layers.append(_Layer(plain.pop(), factory))
            on_layer()
            give_back_freed_memory()
        # Fewer rows to try on the head, which is by far the widest product; it sees one row per sequence anyway.
        self._head = factory.linear(weights.head, max_num_rows=64)
        give_back_freed_memory()
        self._rotary = None
        if config.rope is not None:
            self._rotary = RotaryEmbedding(config.rope, config.head_dim, max_model_len, self.dtype, self.device)

    def forward(
        self, token_ids: Tensor, positions: Tensor, attend: Attention, prompt_lengths: Tensor | None = None
    ) -> Tensor:
        """Evaluates tokens.

        Args:
            token_ids: [rows] int64.
            positions: [rows] int64, each token's place in its sequence.
            attend: how the rows attend to each other and to the cache.
            prompt_lengths: [rows] int64, the length of each row's prompt; needed if `rope.depends_on_prompt`.

        Returns:
            [rows, hidden], after the final norm.
        """
        config = self.config
        turns = None if self._rotary is None else self._rotary(positions, prompt_lengths)
        query_scale = None if config.logn_length is None else query_scales(positions, config.logn_length, self.dtype)
        hidden = functional.embedding(token_ids, self._weights.embedding).to(self.dtype)
        for index, layer in enumerate(self._layers):
            qkv = layer.qkv(self._norm(hidden, layer.attention_norm)).view(-1, config.qkv_heads, config.head_dim)
            q, kv = qkv[:, : config.num_heads], qkv[:, config.num_heads :]
            if layer.q_norm is not None and layer.k_norm is not None:
                q.copy_(self._norm(q, layer.q_norm))
                kv[:, : config.num_kv_heads].copy_(self._norm(kv[:, : config.num_kv_heads], layer.k_norm))
            if turns is not None:
                rotate(qkv[:, : config.num_heads + config.num_kv_heads], *turns)
            if query_scale is not None:
                q.mul_(query_scale)
            hidden = layer.attention_out(attend(index, q, kv)).add_(hidden)
            gate, up = layer.gate_up(self._norm(hidden, layer.ffn_norm)).chunk(2, dim=1)
            hidden = layer.down(functional.silu(gate).mul_(up)).add_(hidden)
            self.num_layers_done += 1
        return self._norm(hidden, self._weights.final_norm)

    def logits(self, hidden: Tensor) -> Tensor:
        """[rows, hidden] of any number of rows to [rows, vocab]."""
        return self._head(hidden)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(x, (x.shape[-1],), weight, self.config.norm_eps)


def query_scales(positions: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """[rows, 1, 1]: the logarithm of the number of tokens to the base `length`, but at least one (Qwen's LogN)."""
    logarithms = (positions + 1).double().log() / math.log(length)
    return logarithms.clamp(min=1.0).to(dtype).view(-1, 1, 1)
