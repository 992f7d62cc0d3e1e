"""Events for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Iterable

from portico.core.events import Delta, Finished, FinishReason, Timings, Token

TIMINGS = Timings(queue=0.25, prefill=0.5, decode=1.0)


def delta(index: int, text: str, token_ids: Iterable[int]) -> Delta:
    """A delta with one detailed token per id."""
    ids = tuple(token_ids)
    return Delta(index, text, ids, tuple(token(each) for each in ids))


def finished(index: int, reason: FinishReason = FinishReason.STOP) -> Finished:
    """The end of a choice."""
    return Finished(index, reason, None, 7 + index, TIMINGS)


def token(token_id: int) -> Token:
    """A token that is a letter."""
    letter = chr(ord("a") + token_id % 26)
    return Token(token_id, letter, letter.encode(), special=False, logprob=None, alternatives=())
