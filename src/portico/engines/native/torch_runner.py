"""Steps by PyTorch's operations: on a GPU, and on CPUs that the kernels are not for."""

from __future__ import annotations

from collections.abc import Sequence as Items

import numpy as np
import torch
from torch import Tensor

from portico.engines.native.attention import (
    TILE,
    DecodeAttention,
    DecodeGroup,
    KVCache,
    PrefillAttention,
    PrefillGroup,
    alibi_slopes,
    context_bucket,
    linear_biases,
    tile_mask,
)
from portico.engines.native.decoder import Decoder, DecoderConfig
from portico.engines.native.drawing import Drawing, TorchDrawing, best_ids
from portico.engines.native.linear import padded
from portico.engines.native.scheduler import Chunk, Step
from portico.engines.native.sequence import Sequence


class TorchRunner:
    """See `ModelRunner`."""

    is_exact = False

    def __init__(self, decoder: Decoder, cache: KVCache) -> None:
        self._decoder = decoder
        self._cache = cache
        self._device = decoder.device
        self.drawing: Drawing = TorchDrawing()
        config = decoder.config
        self._slopes = None if config.rope else torch.tensor(alibi_slopes(config.num_heads), device=self._device)
        self._needs_prompt_lengths = config.rope is not None and config.rope.depends_on_prompt
        self._num_heads_done = 0

    @property
    def config(self) -> DecoderConfig:
        """See `ModelRunner`."""
        return self._decoder.config

    def progress(self) -> object:
        """See `ModelRunner`."""
        return self._decoder.num_layers_done, self._num_heads_done

    @torch.inference_mode()
    def evaluate(self, step: Step) -> Tensor:
        """See `ModelRunner`."""
        assert not (step.chunks and step.sequences), "this runner is not exact"
        return self._prefill(step.chunks) if step.chunks else self._decode(step)

    def _prefill(self, chunks: Items[Chunk]) -> Tensor:
        token_ids: list[int] = []
        positions: list[int] = []
        prompt_lengths: list[int] = []
        slots: list[int] = []
        for chunk in chunks:
            token_ids += chunk.sequence.token_ids[chunk.start : chunk.end]
            positions += range(chunk.start, chunk.end)
            prompt_lengths += [chunk.sequence.num_prompt_tokens] * (chunk.end - chunk.start)
            slots += [self._slot(chunk.sequence, position) for position in range(chunk.start, chunk.end)]
        groups = self._prefill_groups(chunks)
        num_keys = max(group.last_tile for group in groups) * TILE
        mask = tile_mask(num_keys, self._slopes, self._decoder.dtype, self._device)
        attention = PrefillAttention(self._cache, self._slots(slots), groups, mask)
        return self._forward(token_ids, positions, prompt_lengths, attention)

    def _decode(self, step: Step) -> Tensor:
        if step.copies:
            self._cache.copy_blocks(step.copies)
        buckets = [context_bucket(len(sequence.token_ids)) for sequence in step.sequences]
        order = sorted(range(len(buckets)), key=buckets.__getitem__)
        sequences = [step.sequences[place] for place in order]
        token_ids = [sequence.token_ids[-1] for sequence in sequences]
        positions = [sequence.num_computed_tokens for sequence in sequences]
        slots = [self._slot(sequence, sequence.num_computed_tokens) for sequence in sequences]
        groups = self._groups(sequences, [buckets[place] for place in order])
        attention = DecodeAttention(self._cache, self._slots(slots), groups)
        prompt_lengths = [sequence.num_prompt_tokens for sequence in sequences]
        hidden = self._forward(token_ids, positions, prompt_lengths, attention)[: len(sequences)]
        if order != list(range(len(order))):
            hidden = torch.empty_like(hidden).index_copy_(0, self._tensor(order), hidden)
        return hidden

    @torch.inference_mode()
    def logits(self, hidden: Tensor, rows: list[int]) -> Tensor:
        """See `ModelRunner`."""
        self._num_heads_done += 1
        return self._decoder.logits(hidden.index_select(0, self._tensor(rows)))

    def best(self, hidden: Tensor, rows: list[int]) -> list[int]:
        """See `ModelRunner`."""
        return best_ids(self.logits(hidden, rows).float())

    def _forward(
        self,
        token_ids: list[int],
        positions: list[int],
        prompt_lengths: list[int],
        attention: PrefillAttention | DecodeAttention,
    ) -> Tensor:
        padding = [0] * (self._num_rows(len(token_ids)) - len(token_ids))
        lengths = self._tensor(prompt_lengths + [1] * len(padding)) if self._needs_prompt_lengths else None
        return self._decoder.forward(
            self._tensor(token_ids + padding), self._tensor(positions + padding), attention, lengths
        )

    def _prefill_groups(self, chunks: Items[Chunk]) -> list[PrefillGroup]:
        alike: dict[tuple[int, int, int], list[tuple[int, Chunk]]] = {}
        row = 0
        for number, chunk in enumerate(chunks):
            # Kernels for half precision may differ with the number of sequences: each one is by itself then.
            single = 0 if self._decoder.dtype is torch.float32 else number
            alike.setdefault((chunk.start // TILE, -(-chunk.end // TILE), single), []).append((row, chunk))
            row += chunk.end - chunk.start
        groups: list[PrefillGroup] = []
        for (first_tile, last_tile, _), members in alike.items():
            rows: list[int] = []
            places: list[int] = []
            for number, (row, chunk) in enumerate(members):
                place = (number * (last_tile - first_tile) - first_tile) * TILE + chunk.start
                rows += range(row, row + chunk.end - chunk.start)
                places += range(place, place + chunk.end - chunk.start)
            tables = self._block_tables([chunk.sequence for _, chunk in members], last_tile * TILE)
            groups.append(PrefillGroup(first_tile, last_tile, self._tensor(rows), self._tensor(places), tables))
        return groups

    def _groups(self, sequences: Items[Sequence], buckets: list[int]) -> list[DecodeGroup]:
        groups: list[DecodeGroup] = []
        first = 0
        while first < len(sequences):
            bucket = buckets[first]
            last = first + buckets.count(bucket)
            tables = self._block_tables(sequences[first:last], bucket)
            lengths = self._tensor([len(each.token_ids) for each in sequences[first:last]])
            mask = self._mask(lengths, tables.shape[1] * self._cache.block_size)
            first_block = self._first_block(sequences[first], tables.shape[1]) if last == first + 1 else None
            groups.append(DecodeGroup(first, last, tables, mask, first_block))
            first = last
        return groups

    def _first_block(self, sequence: Sequence, num_blocks: int) -> int | None:
        """Where to read so many blocks at once, if the sequence's lie behind each other; the surplus is masked."""
        table = sequence.block_table
        first = table[0]
        is_run = table == list(range(first, first + len(table)))
        return first if is_run and first + num_blocks <= self._cache.scratch_block + 1 else None

    def _block_tables(self, sequences: Items[Sequence], num_tokens: int) -> Tensor:
        """[sequences, blocks] for so many tokens each, with the scratch block where a sequence has fewer."""
        num_blocks = -(-num_tokens // self._cache.block_size)
        scratch = [self._cache.scratch_block] * num_blocks
        return self._tensor([(each.block_table + scratch)[:num_blocks] for each in sequences])

    def _mask(self, lengths: Tensor, num_places: int) -> Tensor:
        """See `DecodeGroup`; the lengths are [rows], the token that is evaluated included."""
        if self._slopes is not None:
            biases = linear_biases(self._slopes, lengths - 1, num_places, self._decoder.dtype)
            return biases.view(len(lengths), self._cache.num_kv_heads, -1, num_places)
        places = torch.arange(num_places, device=self._device)
        mask = torch.zeros(len(lengths), 1, 1, num_places, dtype=self._decoder.dtype, device=self._device)
        return mask.masked_fill_(places >= lengths.view(-1, 1, 1, 1), -torch.inf)

    def _slot(self, sequence: Sequence, position: int) -> int:
        block, offset = divmod(position, self._cache.block_size)
        return sequence.block_table[block] * self._cache.block_size + offset

    def _slots(self, slots: list[int]) -> Tensor:
        scratch = self._cache.scratch_block * self._cache.block_size
        return self._tensor(slots + [scratch] * (self._num_rows(len(slots)) - len(slots)))

    def _num_rows(self, num_tokens: int) -> int:
        return padded(num_tokens) if self._decoder.needs_padding else num_tokens

    def _tensor(self, values: Items[int] | Items[Items[int]]) -> Tensor:
        return torch.from_numpy(np.array(values, dtype=np.int64)).to(self._device)
