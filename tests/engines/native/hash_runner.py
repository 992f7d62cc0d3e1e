"""A model runner without a model: the keys and values of a token are the hash of all that stands up to it.

What it reads of a cache it compares with the sequence, so a block that is not what it should be is found at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from portico.engines.native.decoder import DecoderConfig
from portico.engines.native.drawing import Drawing, TorchDrawing, best_ids
from portico.engines.native.scheduler import Step
from portico.engines.native.sequence import Sequence

VOCAB_SIZE = 12
_NUM_ROWS = 1021


class HashRunner:
    """See `ModelRunner`. With `stumbles` the next step of several jobs is evaluated in vain."""

    is_exact = True

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.config = DecoderConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=1,
            num_layers=1,
            num_heads=1,
            num_kv_heads=1,
            head_dim=2,
            ffn_size=1,
            norm_eps=1e-6,
            max_position=10**6,
            rope=None,
            has_tied_head=True,
        )
        self.drawing: Drawing = TorchDrawing()
        self.stumbles = False
        self._block_size = block_size
        self._cache = [0] * (num_blocks * block_size)
        generator = torch.Generator().manual_seed(1)
        # Mostly by the last token, so that texts repeat themselves and guesses at them are right now and then.
        self._by_token = 4 * torch.randn(VOCAB_SIZE, VOCAB_SIZE, generator=generator)
        self._by_hash = torch.randn(_NUM_ROWS, VOCAB_SIZE, generator=generator)

    def progress(self) -> object:
        """See `ModelRunner`."""
        return None

    def evaluate(self, step: Step) -> Tensor:
        """See `ModelRunner`."""
        for source, destination in step.copies:
            for offset in range(self._block_size):
                self._cache[destination * self._block_size + offset] = self._cache[source * self._block_size + offset]
        rows: list[tuple[int, int]] = []
        for chunk in step.chunks:
            rows += self._evaluate(chunk.sequence, chunk.start, chunk.sequence.token_ids[chunk.start : chunk.end])
        drafts = step.drafts or ((),) * len(step.sequences)
        for sequence, draft in zip(step.sequences, drafts, strict=True):
            assert len(sequence.token_ids) == sequence.num_computed_tokens + 1
            rows += self._evaluate(sequence, sequence.num_computed_tokens, [sequence.token_ids[-1], *draft])
        if (
            self.stumbles
            and len({each.job for each in (*step.sequences, *(part.sequence for part in step.chunks))}) > 1
        ):
            self.stumbles = False
            raise RuntimeError("out of luck")
        return torch.tensor(rows)

    def logits(self, hidden: Tensor, rows: list[int]) -> Tensor:
        """See `ModelRunner`."""
        token_ids, hashes = hidden[rows].unbind(1)
        return self._by_token[token_ids] + self._by_hash[hashes % _NUM_ROWS]

    def best(self, hidden: Tensor, rows: list[int]) -> list[int]:
        """See `ModelRunner`."""
        return best_ids(self.logits(hidden, rows))

    def _evaluate(self, sequence: Sequence, start: int, token_ids: list[int]) -> list[tuple[int, int]]:
        found = len(sequence.job.request.cache_salt)
        for place, token_id in enumerate(sequence.token_ids[:start]):
            found = hash((found, token_id))
            assert self._cache[self._slot(sequence, place)] == found, "what is read is not what was written"
        rows: list[tuple[int, int]] = []
        for place, token_id in enumerate(token_ids, start):
            found = hash((found, token_id))
            self._cache[self._slot(sequence, place)] = found
            rows.append((token_id, found))
        return rows

    def _slot(self, sequence: Sequence, place: int) -> int:
        return sequence.block_table[place // self._block_size] * self._block_size + place % self._block_size
