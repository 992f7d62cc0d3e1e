"""The paged KV cache, and attention over it for prefill and for decode.

A layer's cache is [blocks + 1, block_size, 2 * kv_heads, head_dim], keys before values; the last block takes the
writes of padding rows and is never read.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_NUMPY_DTYPES = {torch.float32: np.dtype(np.float32), torch.bfloat16: np.dtype(np.uint16)}
_MIN_CONTEXT = 64


class KVCache:
    """One tensor of blocks per layer."""

    def __init__(
        self,
        num_layers: int,
        num_blocks: int,
        block_size: int,
        num_kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (num_blocks + 1, block_size, 2 * num_kv_heads, head_dim)
        self.block_size = block_size
        self.num_kv_heads = num_kv_heads
        self.scratch_block = num_blocks
        self.layers = [_zeros(shape, dtype, device) for _ in range(num_layers)]

    @staticmethod
    def bytes_per_token(num_layers: int, num_kv_heads: int, head_dim: int, dtype: torch.dtype) -> int:
        """Memory that one token takes in all layers."""
        return num_layers * 2 * num_kv_heads * head_dim * dtype.itemsize

    def write(self, layer: int, slots: Tensor, kv: Tensor) -> None:
        """Stores [rows, 2 * kv_heads, head_dim] in the slots [rows]; slot = block * block_size + offset."""
        self.layers[layer].flatten(0, 1).index_copy_(0, slots, kv)

    def read(self, layer: int, block_tables: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of block tables [n, blocks]: each [n, kv_heads, blocks * block_size, head_dim]."""
        blocks = self.layers[layer].index_select(0, block_tables.flatten())
        kv = blocks.view(block_tables.shape[0], -1, *blocks.shape[2:]).transpose(1, 2)
        return kv[:, : self.num_kv_heads], kv[:, self.num_kv_heads :]

    def copy_blocks(self, copies: Items[tuple[int, int]]) -> None:
        """Copies whole blocks from source to destination."""
        sources, destinations = torch.tensor(copies, device=self.layers[0].device).unbind(1)
        for blocks in self.layers:
            blocks.index_copy_(0, destinations, blocks.index_select(0, sources))


class Attention(Protocol):
    """How the rows of one forward pass attend; made anew for each pass."""

    def __call__(self, layer: int, q: Tensor, kv: Tensor) -> Tensor:
        """Stores the new keys and values and attends.

        Args:
            layer: whose cache it is.
            q: [rows, heads, head_dim].
            kv: [rows, 2 * kv_heads, head_dim].

        Returns:
            [rows, heads * head_dim]; padding rows are zero.
        """


@dataclass(frozen=True, slots=True)
class PrefillSpan:
    """Rows `first` up to `last` are tokens of one sequence from place `start` on; `blocks` [blocks] hold the sequence
    when there is something before `start`."""

    first: int
    last: int
    start: int
    blocks: Tensor | None


class PrefillAttention:
    """Each sequence by itself, so that its result does not depend on its neighbours."""

    def __init__(self, cache: KVCache, slots: Tensor, spans: Items[PrefillSpan]) -> None:
        self._cache = cache
        self._slots = slots
        self._spans = spans

    def __call__(self, layer: int, q: Tensor, kv: Tensor) -> Tensor:
        """See `Attention`."""
        self._cache.write(layer, self._slots, kv)
        out = q.new_zeros(q.shape[0], q.shape[1] * q.shape[2])
        for span in self._spans:
            rows = slice(span.first, span.last)
            queries = q[rows].transpose(0, 1).unsqueeze(0)
            mask = None
            if span.blocks is None:
                keys, values = kv[rows].transpose(0, 1).unsqueeze(0).tensor_split(2, dim=1)
            else:
                end = span.start + span.last - span.first
                keys, values = (x[:, :, :end] for x in self._cache.read(layer, span.blocks.unsqueeze(0)))
                mask = torch.ones(span.last - span.first, end, dtype=torch.bool, device=q.device).tril(span.start)
            attended = functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=True
            )
            out[rows] = attended[0].transpose(0, 1).flatten(1)
        return out


def context_bucket(num_tokens: int) -> int:
    """The context length a sequence is decoded with: 64, 128, 192, 256, 384, 512, 768, 1024, ...

    It depends on the sequence alone, so that the length of its neighbours cannot change its result; coarse, so that
    a batch falls into few groups.
    """
    bucket = _MIN_CONTEXT
    while bucket < num_tokens:
        if bucket + bucket // 2 >= num_tokens and bucket > _MIN_CONTEXT:
            return bucket + bucket // 2
        bucket *= 2
    return bucket


@dataclass(frozen=True, slots=True)
class DecodeGroup:
    """Rows `first` up to `last`: sequences of one context bucket.

    `block_tables` is [rows, blocks]; `mask` [rows, 1, 1, blocks * block_size] is 0 where there is context and -inf
    behind its end.
    """

    first: int
    last: int
    block_tables: Tensor
    mask: Tensor


class DecodeAttention:
    """One token of each sequence, group by group; the query heads of one KV head are rows of one product."""

    def __init__(self, cache: KVCache, slots: Tensor, groups: Items[DecodeGroup]) -> None:
        self._cache = cache
        self._slots = slots
        self._groups = groups

    def __call__(self, layer: int, q: Tensor, kv: Tensor) -> Tensor:
        """See `Attention`."""
        self._cache.write(layer, self._slots, kv)
        out = q.new_zeros(q.shape[0], q.shape[1] * q.shape[2])
        for group in self._groups:
            rows = slice(group.first, group.last)
            keys, values = self._cache.read(layer, group.block_tables)
            queries = q[rows].view(group.last - group.first, self._cache.num_kv_heads, -1, q.shape[2])
            attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=group.mask)
            out[rows] = attended.reshape(group.last - group.first, -1)
        return out


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type == "cpu":
        # numpy asks the system for zero pages, which take no memory until they are written; torch writes them.
        return torch.from_numpy(np.zeros(shape, _NUMPY_DTYPES[dtype])).view(dtype)
    return torch.zeros(shape, dtype=dtype, device=device)
