"""Guesses at what a sequence will go on with, from what it said before (prompt lookup; Saxena 2023, and n-gram
speculation of vLLM).

A step that reads all weights for one token reads them for a few more at little cost. A guess that turns out right is a
step saved; what is drawn is the same with guesses and without.
"""

from __future__ import annotations

from portico.core.model import DraftCounts
from portico.engines.native.sequence import Sequence

# Tokens that must have stood together before.
_NUM_ALIKE = 3
_FIRST_LENGTH = 2
# Guesses that were all wrong, one after another, until a sequence is left alone for a while.
_MAX_MISSES = 4
_REST = 32


class DraftState:
    """What is known of one sequence's repetitions."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, ...], int] = {}
        self._num_seen = 0
        self._length = _FIRST_LENGTH
        self._num_misses = 0
        self._rest_until = 0

    def draft(self, token_ids: list[int], max_length: int) -> tuple[int, ...]:
        """At most so many tokens that may come next."""
        num_tokens = len(token_ids)
        for end in range(max(self._num_seen, _NUM_ALIKE), num_tokens):
            self._places[tuple(token_ids[end - _NUM_ALIKE : end])] = end
        self._num_seen = num_tokens
        if num_tokens < self._rest_until:
            return ()
        place = self._places.get(tuple(token_ids[-_NUM_ALIKE:]))
        if place is None:
            return ()
        return tuple(token_ids[place : place + min(self._length, max_length)])

    def note(self, num_drafted: int, num_right: int, num_tokens: int) -> None:
        """Takes note of how many guesses were right, of a sequence that has so many tokens now."""
        if num_right == num_drafted:
            self._length = 2 * num_drafted
        else:
            self._length = max(1, num_right)
        self._num_misses = 0 if num_right else self._num_misses + 1
        if self._num_misses == _MAX_MISSES:
            self._num_misses = 0
            self._length = _FIRST_LENGTH
            self._rest_until = num_tokens + _REST


class DraftTally:
    """Counts the guesses of all sequences; `max_length` is the most that one draft can have."""

    def __init__(self, max_length: int) -> None:
        self._num_drafts = 0
        self._num_tokens = 0
        self._num_accepted = [0] * max_length
        self._counts: DraftCounts | None = None

    def note(self, num_drafted: int, num_right: int) -> None:
        """Takes note of a draft of which so many tokens saved a step."""
        self._num_drafts += 1
        self._num_tokens += num_drafted
        for position in range(num_right):
            self._num_accepted[position] += 1
        self._counts = None

    def counts(self) -> DraftCounts:
        """What it has come to."""
        if self._counts is None:
            self._counts = DraftCounts(self._num_drafts, self._num_tokens, tuple(self._num_accepted))
        return self._counts


def draft(sequence: Sequence, max_length: int) -> tuple[int, ...]:
    """At most so many tokens that a sequence may go on with; fewer if it may not have as many."""
    left = sequence.job.request.max_tokens - sequence.num_output_tokens - 1
    if min(left, max_length) < 1:
        return ()
    if sequence.draft_state is None:
        sequence.draft_state = DraftState()
    return sequence.draft_state.draft(sequence.token_ids, min(left, max_length))
