"""The made-up language model of the scripted engine.

The model's state at a place is the CRC-32 of all token ids before it, as little-endian 32-bit words. The best token
there is `state % vocab_size` (or the script's), the next best is the id after it, and so on around the vocabulary; the
token of rank r has the probability 2^-(r+1), the last two ranks the same, so that all add up to one.

Greedy sampling takes rank 0 and so depends on the prompt only. Otherwise the rank is drawn from that distribution by a
generator seeded with seed + index; a script is followed as it is. A forbidden token is replaced by the next one around
the vocabulary that is not. Of the other steps of sampling none has an effect.
"""

from __future__ import annotations

import math
import random
import struct
from itertools import pairwise
from zlib import crc32

from portico.core.engine import TokenLogprobs
from portico.engines.scripted.restriction import Restriction

_SEED_MASK = 2**64 - 1


def prompt_state(token_ids: tuple[int, ...]) -> int:
    """The state after a prompt."""
    return crc32(struct.pack(f"<{len(token_ids)}I", *token_ids))


def place_logprobs(best_id: int, token_id: int, num_best: int, vocab_size: int) -> TokenLogprobs:
    """The log-probabilities of a place whose best token is `best_id` and where `token_id` stands."""
    rank = (token_id - best_id) % vocab_size
    return TokenLogprobs(
        _rank_logprob(rank, vocab_size),
        # The last two are equally likely.
        vocab_size if rank >= vocab_size - 2 else rank + 1,
        tuple(
            ((best_id + rank) % vocab_size, _rank_logprob(rank, vocab_size))
            for rank in range(min(num_best, vocab_size))
        ),
    )


def prompt_logprobs(token_ids: tuple[int, ...], num_best: int, vocab_size: int) -> tuple[TokenLogprobs | None, ...]:
    """The log-probabilities of every token of a prompt; nothing stands before the first."""
    places: list[TokenLogprobs | None] = [None]
    state = 0
    for before, token_id in pairwise(token_ids):
        state = _next_state(state, before)
        places.append(place_logprobs(state % vocab_size, token_id, num_best, vocab_size))
    return tuple(places)


def _next_state(state: int, token_id: int) -> int:
    return crc32(token_id.to_bytes(4, "little"), state)


def _rank_logprob(rank: int, vocab_size: int) -> float:
    return -math.log(2) * min(rank + 1, vocab_size - 1)


class Walk:
    """One sequence's way through the model."""

    __slots__ = ("_random", "_restriction", "_script", "_state", "_vocab_size", "num_tokens")

    def __init__(
        self,
        state: int,
        seed: int | None,
        script: tuple[int, ...],
        vocab_size: int,
        restriction: Restriction | None,
    ) -> None:
        self.num_tokens = 0
        self._state = state
        self._random = None if seed is None else random.Random(seed & _SEED_MASK)
        self._script = script
        self._vocab_size = vocab_size
        self._restriction = restriction

    def draw(self) -> tuple[int, int]:
        """The next token, and the best one of its place."""
        rank = 0
        if self._script:
            best_id = self._script[self.num_tokens % len(self._script)]
        else:
            best_id = self._state % self._vocab_size
            if self._random is not None:
                # 1 - random() is in (0, 1]; each halving of it is one rank down.
                rank = min(int(-math.log2(1.0 - self._random.random())), self._vocab_size - 1)
        token_id = (best_id + rank) % self._vocab_size
        if self._restriction is not None:
            token_id = self._restriction.choose(token_id, self._vocab_size)
        self.num_tokens += 1
        self._state = _next_state(self._state, token_id)
        return token_id, best_id
