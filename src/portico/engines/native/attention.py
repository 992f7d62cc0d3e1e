"""The paged KV cache, and attention over it for prefill and for decode.

A layer's cache is [blocks + 1, block_size, 2 * kv_heads, head_dim], keys before values; the last block takes the
writes of padding rows and is never read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_NUMPY_DTYPES = {torch.float32: np.dtype(np.float32), torch.bfloat16: np.dtype(np.uint16)}
_MIN_CONTEXT = 64
# Queries of one product in a prefill.
TILE = 32


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
        self._slots = [blocks.flatten(0, 1) for blocks in self.layers]

    @staticmethod
    def bytes_per_token(num_layers: int, num_kv_heads: int, head_dim: int, dtype: torch.dtype) -> int:
        """Memory that one token takes in all layers."""
        return num_layers * 2 * num_kv_heads * head_dim * dtype.itemsize

    def write(self, layer: int, slots: Tensor, kv: Tensor) -> None:
        """Stores [rows, 2 * kv_heads, head_dim] in the slots [rows]; slot = block * block_size + offset."""
        self._slots[layer].index_copy_(0, slots, kv)

    def read(self, layer: int, block_tables: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of block tables [n, blocks]: each [n, kv_heads, blocks * block_size, head_dim]."""
        blocks = self.layers[layer].index_select(0, block_tables.flatten())
        kv = blocks.view(block_tables.shape[0], -1, *blocks.shape[2:]).transpose(1, 2)
        return kv[:, : self.num_kv_heads], kv[:, self.num_kv_heads :]

    def view(self, layer: int, first_block: int, num_blocks: int) -> tuple[Tensor, Tensor]:
        """The same of one sequence whose blocks lie behind each other, without a copy."""
        start = first_block * self.block_size
        kv = self._slots[layer][start : start + num_blocks * self.block_size].transpose(0, 1).unsqueeze(0)
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
class PrefillGroup:
    """Chunks of sequences that lie in the same tiles, see `PrefillAttention`.

    Attributes:
        first_tile, last_tile: they lie in these tiles and those between; the last one is not included.
        rows: [tokens] the rows that are theirs.
        places: [tokens] where each of these stands among the tiles' queries, sequence after sequence.
        block_tables: [sequences, blocks] up to the end of the last tile.
    """

    first_tile: int
    last_tile: int
    rows: Tensor
    places: Tensor
    block_tables: Tensor


class PrefillAttention:
    """Prompts, in tiles of `TILE` queries that begin at multiples of it.

    A tile attends to all keys up to its own end, and is evaluated in full even where a chunk has only some of its
    tokens: the others are masked, or their results unused. So a token's result has the same bits however its prompt
    was cut into chunks, whether what stands before it came from the cache, and whatever its neighbours are.
    """

    def __init__(self, cache: KVCache, slots: Tensor, groups: Items[PrefillGroup], mask: Tensor) -> None:
        """`mask` is that of `tile_mask`, at least as long as the last tile's context."""
        self._cache = cache
        self._slots = slots
        self._groups = groups
        self._mask = mask

    def __call__(self, layer: int, q: Tensor, kv: Tensor) -> Tensor:
        """See `Attention`."""
        self._cache.write(layer, self._slots, kv)
        out = q.new_zeros(q.shape[0], q.shape[1] * q.shape[2])
        for group in self._groups:
            keys, values = self._cache.read(layer, group.block_tables)
            num_sequences, num_queries = len(group.block_tables), (group.last_tile - group.first_tile) * TILE
            queries = q.new_zeros(num_sequences * num_queries, q.shape[1], q.shape[2])
            queries.index_copy_(0, group.places, q.index_select(0, group.rows))
            queries = queries.view(num_sequences, num_queries, q.shape[1], q.shape[2]).transpose(1, 2)
            parts = []
            for number, tile in enumerate(torch.split(queries, TILE, dim=2), group.first_tile + 1):
                end = number * TILE
                mask = self._mask[..., self._mask.shape[-1] - end :]
                parts.append(
                    functional.scaled_dot_product_attention(
                        tile, keys[:, :, :end], values[:, :, :end], attn_mask=mask, enable_gqa=True
                    )
                )
            attended = (parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)).transpose(1, 2)
            out.index_copy_(
                0, group.rows, attended.reshape(num_sequences * num_queries, -1).index_select(0, group.places)
            )
        return out


def tile_mask(num_keys: int, slopes: Tensor | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is added to the scores of a tile whose keys end where it does, [TILE, num_keys]; -inf behind the query.

    With `slopes` [heads] of linear biases it is [heads, TILE, num_keys]. The last columns are the mask for less keys.
    """
    places = torch.arange(num_keys - TILE, num_keys, device=device)
    if slopes is not None:
        return linear_biases(slopes, places, num_keys, dtype).transpose(0, 1)
    mask = torch.zeros(TILE, num_keys, dtype=dtype, device=device)
    return mask.masked_fill_(torch.arange(num_keys, device=device) > places.unsqueeze(1), -torch.inf)


def alibi_slopes(num_heads: int) -> list[float]:
    """How steeply each head's bias falls with distance (Press et al., arXiv 2108.12409).

    A geometric sequence for a power of two; other numbers of heads take those of the power below, and every second
    one of the power above.
    """
    power = 2 ** math.floor(math.log2(num_heads))
    ratio = 2.0 ** (-8.0 / power)
    slopes = [ratio ** (head + 1) for head in range(power)]
    return slopes if power == num_heads else slopes + alibi_slopes(2 * power)[0::2][: num_heads - power]


def linear_biases(slopes: Tensor, places: Tensor, num_keys: int, dtype: torch.dtype) -> Tensor:
    """What is added to the scores of queries at `places` [rows], as [rows, heads, num_keys]; -inf behind the query."""
    distances = torch.arange(num_keys, device=places.device) - places.unsqueeze(1)
    biases = slopes.view(1, -1, 1) * distances.unsqueeze(1)
    return biases.masked_fill_((distances > 0).unsqueeze(1), -torch.inf).to(dtype)


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
    behind its end, or has linear biases, [rows, kv_heads, heads per KV head, blocks * block_size]. `first_block` is
    that of a sequence which is alone and whose blocks lie behind each other.
    """

    first: int
    last: int
    block_tables: Tensor
    mask: Tensor
    first_block: int | None


class DecodeAttention:
    """One token of each sequence, group by group; the query heads of one KV head are rows of one product."""

    def __init__(self, cache: KVCache, slots: Tensor, groups: Items[DecodeGroup]) -> None:
        self._cache = cache
        self._slots = slots
        self._groups = groups

    def __call__(self, layer: int, q: Tensor, kv: Tensor) -> Tensor:
        """See `Attention`."""
        self._cache.write(layer, self._slots, kv)
        if len(self._groups) == 1 and self._groups[0].last == q.shape[0]:
            return self._attend(layer, q, self._groups[0])
        out = q.new_zeros(q.shape[0], q.shape[1] * q.shape[2])
        for group in self._groups:
            out[group.first : group.last] = self._attend(layer, q[group.first : group.last], group)
        return out

    def _attend(self, layer: int, q: Tensor, group: DecodeGroup) -> Tensor:
        if group.first_block is None:
            keys, values = self._cache.read(layer, group.block_tables)
        else:
            keys, values = self._cache.view(layer, group.first_block, group.block_tables.shape[1])
        queries = q.view(q.shape[0], self._cache.num_kv_heads, -1, q.shape[2])
        attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=group.mask)
        return attended.reshape(q.shape[0], -1)


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type == "cpu":
        # numpy asks the system for zero pages, which take no memory until they are written; torch writes them.
        return torch.from_numpy(np.zeros(shape, _NUMPY_DTYPES[dtype])).view(dtype)
    return torch.zeros(shape, dtype=dtype, device=device)
