"""Turns scheduled steps into forward passes of the decoder."""

from __future__ import annotations

from collections.abc import Sequence as Items

import torch
from torch import Tensor

from portico.core.engine import TokenLogprobs
from portico.engines.native.attention import (
    DecodeAttention,
    DecodeGroup,
    KVCache,
    PrefillAttention,
    PrefillSpan,
    context_bucket,
)
from portico.engines.native.decoder import Decoder
from portico.engines.native.linear import padded
from portico.engines.native.logprobs import token_logprobs
from portico.engines.native.scheduler import Chunk, DecodeStep
from portico.engines.native.sequence import Sequence

_LOGPROB_ROWS = 64


class ModelRunner:
    """Owns the KV cache; everything it returns is on the model's device."""

    def __init__(self, decoder: Decoder, cache: KVCache) -> None:
        self._decoder = decoder
        self._cache = cache
        self._device = decoder.device

    @torch.inference_mode()
    def prefill(self, chunks: Items[Chunk]) -> Tensor:
        """Evaluates chunks of prompts; returns hidden states [rows, hidden], the chunks' rows one after another."""
        token_ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        spans: list[PrefillSpan] = []
        for chunk in chunks:
            first = len(token_ids)
            token_ids += chunk.sequence.token_ids[chunk.start : chunk.end]
            positions += range(chunk.start, chunk.end)
            slots += [self._slot(chunk.sequence, position) for position in range(chunk.start, chunk.end)]
            blocks = self._tensor(chunk.sequence.block_table) if chunk.start else None
            spans.append(PrefillSpan(first, len(token_ids), chunk.start, blocks))
        attention = PrefillAttention(self._cache, self._slots(slots), spans)
        return self._forward(token_ids, positions, attention)

    @torch.inference_mode()
    def decode(self, step: DecodeStep) -> Tensor:
        """Evaluates the last token of each sequence; returns logits [sequences, vocab]."""
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
        hidden = self._forward(token_ids, positions, attention)[: len(sequences)]
        if order != list(range(len(order))):
            hidden = torch.empty_like(hidden).index_copy_(0, self._tensor(order), hidden)
        return self._decoder.logits(hidden)

    @torch.inference_mode()
    def logits(self, hidden: Tensor, rows: list[int]) -> Tensor:
        """Logits [rows, vocab] of some rows of hidden states."""
        return self._decoder.logits(hidden.index_select(0, self._tensor(rows)))

    @torch.inference_mode()
    def logprobs(self, hidden: Tensor, token_ids: Items[int], num_best: int) -> list[TokenLogprobs]:
        """Log-probabilities of the tokens that follow each row of hidden states [rows, hidden]."""
        found: list[TokenLogprobs] = []
        # A few rows at a time: logits of a long prompt at once could take more memory than the weights.
        for start in range(0, len(token_ids), _LOGPROB_ROWS):
            targets = list(token_ids[start : start + _LOGPROB_ROWS])
            logits = self._decoder.logits(hidden[start : start + len(targets)]).float()
            found += token_logprobs(logits.log_softmax(1), targets, [num_best] * len(targets))
        return found

    def _forward(
        self, token_ids: list[int], positions: list[int], attention: PrefillAttention | DecodeAttention
    ) -> Tensor:
        padding = [0] * (padded(len(token_ids)) - len(token_ids))
        return self._decoder.forward(self._tensor(token_ids + padding), self._tensor(positions + padding), attention)

    def _groups(self, sequences: Items[Sequence], buckets: list[int]) -> list[DecodeGroup]:
        groups: list[DecodeGroup] = []
        first = 0
        while first < len(sequences):
            bucket = buckets[first]
            last = first + buckets.count(bucket)
            num_blocks = -(-bucket // self._cache.block_size)
            tables = [
                each.block_table + [self._cache.scratch_block] * (num_blocks - len(each.block_table))
                for each in sequences[first:last]
            ]
            lengths = self._tensor([len(each.token_ids) for each in sequences[first:last]]).view(-1, 1, 1, 1)
            places = torch.arange(num_blocks * self._cache.block_size, device=self._device)
            mask = torch.zeros(last - first, 1, 1, len(places), dtype=self._decoder.dtype, device=self._device)
            mask.masked_fill_(places >= lengths, -torch.inf)
            groups.append(DecodeGroup(first, last, self._tensor(tables), mask))
            first = last
        return groups

    def _slot(self, sequence: Sequence, position: int) -> int:
        block, offset = divmod(position, self._cache.block_size)
        return sequence.block_table[block] * self._cache.block_size + offset

    def _slots(self, slots: list[int]) -> Tensor:
        scratch = self._cache.scratch_block * self._cache.block_size
        return self._tensor(slots + [scratch] * (padded(len(slots)) - len(slots)))

    def _tensor(self, values: Items[int] | Items[Items[int]]) -> Tensor:
        return torch.tensor(values, device=self._device)
