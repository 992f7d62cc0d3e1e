"""The transformer decoder: one straight-line module for all families, with their differences as switches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from portico.engines.native.attention import Attention
from portico.engines.native.linear import LinearFactory


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Sizes and switches of a decoder.

    Attributes:
        ffn_size: width between the gate-up and down projections.
        max_position: tokens that the checkpoint was made for.
        has_qkv_bias: the query, key and value projections have a bias.
        has_tied_head: the output head is the embedding.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_size: int
    norm_eps: float
    rope_theta: float
    max_position: int
    has_qkv_bias: bool
    has_tied_head: bool

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
        attention_out: [hidden, heads * head_dim].
        ffn_norm: [hidden].
        gate_up: [2 * ffn, hidden].
        down: [hidden, ffn].
    """

    attention_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
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
        """Tensors of the right shapes, to be filled."""

        def tensor(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=dtype, device=device)

        hidden, qkv = config.hidden_size, config.qkv_heads * config.head_dim
        embedding = tensor(config.vocab_size, hidden)
        layers = [
            LayerWeights(
                attention_norm=tensor(hidden),
                qkv=tensor(qkv, hidden),
                qkv_bias=tensor(qkv) if config.has_qkv_bias else None,
                attention_out=tensor(hidden, config.num_heads * config.head_dim),
                ffn_norm=tensor(hidden),
                gate_up=tensor(2 * config.ffn_size, hidden),
                down=tensor(hidden, config.ffn_size),
            )
            for _ in range(config.num_layers)
        ]
        head = embedding if config.has_tied_head else tensor(config.vocab_size, hidden)
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
            if layer.qkv_bias is not None:
                yield layer.qkv_bias

    @property
    def num_parameters(self) -> int:
        """Count of weights."""
        return sum(tensor.numel() for tensor in self.tensors())


class _Layer:
    """The products of one layer."""

    def __init__(self, weights: LayerWeights, factory: LinearFactory) -> None:
        self.attention_norm = weights.attention_norm
        self.ffn_norm = weights.ffn_norm
        self.qkv = factory.linear(weights.qkv, weights.qkv_bias)
        self.attention_out = factory.linear(weights.attention_out)
        self.gate_up = factory.linear(weights.gate_up)
        self.down = factory.linear(weights.down)


class Decoder:
    """A loaded model: token ids to hidden states to logits.

    A row's result depends on that row's sequence alone, to the bit on a CPU. The layers of `weights` are taken over.
    """

    def __init__(self, config: DecoderConfig, weights: DecoderWeights, max_model_len: int) -> None:
        self.config = config
        self.dtype = weights.embedding.dtype
        self.device = weights.embedding.device
        self._weights = weights
        factory = LinearFactory()
        # Packing makes copies: each layer's plain weights go before the next layer's are packed.
        plain, weights.layers = weights.layers[::-1], []
        self._layers = [_Layer(plain.pop(), factory) for _ in range(config.num_layers)]
        # Fewer rows to try on the head, which is by far the widest product; it sees one row per sequence anyway.
        self._head = factory.linear(weights.head, max_num_rows=64)
        self._cos, self._sin = _rope_tables(config, max_model_len, self.dtype, self.device)

    def forward(self, token_ids: Tensor, positions: Tensor, attend: Attention) -> Tensor:
        """Evaluates tokens.

        Args:
            token_ids: [rows] int64.
            positions: [rows] int64, each token's place in its sequence.
            attend: how the rows attend to each other and to the cache.

        Returns:
            [rows, hidden], after the final norm.
        """
        config = self.config
        cos = self._cos.index_select(0, positions)
        sin = self._sin.index_select(0, positions)
        hidden = functional.embedding(token_ids, self._weights.embedding)
        for index, layer in enumerate(self._layers):
            qkv = layer.qkv(self._norm(hidden, layer.attention_norm)).view(-1, config.qkv_heads, config.head_dim)
            _rotate(qkv[:, : config.num_heads + config.num_kv_heads], cos, sin)
            attended = attend(index, qkv[:, : config.num_heads], qkv[:, config.num_heads :])
            hidden = hidden + layer.attention_out(attended)
            gate, up = layer.gate_up(self._norm(hidden, layer.ffn_norm)).chunk(2, dim=1)
            hidden = hidden + layer.down(functional.silu(gate) * up)
        return self._norm(hidden, self._weights.final_norm)

    def logits(self, hidden: Tensor) -> Tensor:
        """[rows, hidden] of any number of rows to [rows, vocab]."""
        return self._head(hidden)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(x, (x.shape[-1],), weight, self.config.norm_eps)


def _rope_tables(config: DecoderConfig, length: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each [length, 1, head_dim]; the first half of the sines is negative, see `_rotate`."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
    frequencies = 1.0 / config.rope_theta**exponents
    angles = torch.outer(torch.arange(length).float(), frequencies)
    cos = torch.cat([angles.cos(), angles.cos()], dim=1)
    sin = torch.cat([-angles.sin(), angles.sin()], dim=1)
    return cos.to(device, dtype).unsqueeze(1), sin.to(device, dtype).unsqueeze(1)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Rotary embedding of [rows, heads, head_dim] in place (Su et al., arXiv 2104.09864), pairing the two halves."""
    swapped = x.roll(x.shape[-1] // 2, -1)
    x.mul_(cos).addcmul_(swapped, sin)
