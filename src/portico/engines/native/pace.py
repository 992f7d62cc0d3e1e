"""How much of a prompt may be evaluated between two tokens of others."""

from __future__ import annotations

_FIRST_TOKENS = 64
_MIN_TOKENS = 16
_GRANULE = 16
# Weight of the newest step; the first ones of a process are slower than all later ones.
_NEWEST = 0.1
# How far one piece of a prompt moves the size of the next.
_MOST_SHRINKING, _MOST_GROWING = 0.25, 2.0
# Seconds that prompts may take of a step while other sequences wait for their next tokens, and how many of their own
# steps: who reads along notices a gap by what it is used to. It is so many times more as more wait for their first token
# than for their next.
_MAX_STALL = 0.1
_MAX_STALLED_STEPS = 2
# The same where nobody waits: jobs that come or leave are looked after between steps, and a hang is told from a step.
_MAX_STEP = 4.0
_MIN_TOKENS_ALONE = 64


class PrefillPace:
    """Moves the size of pieces of prompts to where they take the time that they may.

    The rate of a piece says little about that of another: a small one takes as long as reading the weights, whatever
    its size, and one behind a long context longer than one at the beginning.
    """

    def __init__(self) -> None:
        self._num_tokens = float(_FIRST_TOKENS)
        self._num_tokens_alone = float(_MIN_TOKENS_ALONE)
        self._decode_time = _Line()
        self._num_sequences = 0

    def note(self, num_tokens: int, num_sequences: int, seconds: float) -> None:
        """Takes note of a step with so many tokens of prompts, and one of each of so many sequences."""
        if seconds <= 0:
            return
        before = self._allowed_seconds
        if num_sequences:
            self._num_sequences = num_sequences
        if not num_tokens or not num_sequences:
            # Tokens of prompts tell too what one more sequence adds.
            self._decode_time.note(num_tokens + num_sequences, seconds)
        if not num_tokens:
            if self._allowed_seconds < before:
                self._num_tokens = max(float(_MIN_TOKENS), self._num_tokens * self._allowed_seconds / before)
            return
        if num_sequences:
            # What the sequences alone would have taken does not count.
            seconds = max(seconds - (self._decode_time.at(num_sequences) or 0.0), seconds / 10)
        else:
            self._note_alone(num_tokens, seconds)
        allowed = self._allowed_seconds
        if num_tokens < self._num_tokens / 2 and seconds < allowed:
            # A small and short one tells nothing.
            return
        target = num_tokens * allowed / seconds
        least, most = self._num_tokens * _MOST_SHRINKING, self._num_tokens * _MOST_GROWING
        self._num_tokens = max(float(_MIN_TOKENS), min(max(target, least), most))

    def _note_alone(self, num_tokens: int, seconds: float) -> None:
        if num_tokens >= self._num_tokens_alone / 2 or seconds >= _MAX_STEP:
            self._num_tokens_alone = max(float(_MIN_TOKENS_ALONE), num_tokens * _MAX_STEP / seconds)

    def budget(self, num_waiting: int = 1, num_running: int = 1) -> int:
        """Tokens of prompts that so many running sequences may be kept waiting for, while so many wait to begin.

        Round, and never so few that little is gained.
        """
        stretch = min(max(1.0, num_waiting / max(1, num_running)), _MAX_STALL / self._allowed_seconds)
        return max(_MIN_TOKENS, int(self._num_tokens * stretch) // _GRANULE * _GRANULE)

    @property
    def budget_alone(self) -> int:
        """Tokens of prompts of one step while nothing else runs."""
        return int(self._num_tokens_alone) // _GRANULE * _GRANULE

    @property
    def _allowed_seconds(self) -> float:
        decode_seconds = self._decode_time.at(self._num_sequences) if self._num_sequences else None
        return _MAX_STALL if decode_seconds is None else min(_MAX_STALL, _MAX_STALLED_STEPS * decode_seconds)


class _Line:
    """Seconds by the number of tokens of a step, as the line nearest to what was seen, the newest counting most."""

    def __init__(self) -> None:
        self._weight = self._x = self._y = self._xx = self._xy = 0.0

    def note(self, x: float, y: float) -> None:
        keep = 1 - _NEWEST
        self._weight, self._x, self._y = keep * self._weight + 1, keep * self._x + x, keep * self._y + y
        self._xx, self._xy = keep * self._xx + x * x, keep * self._xy + x * y

    def at(self, x: float) -> float | None:
        """At least a tenth of what steps took on average; None before the first."""
        if not self._weight:
            return None
        mean_x, mean_y = self._x / self._weight, self._y / self._weight
        spread = self._xx / self._weight - mean_x * mean_x
        slope = max(0.0, (self._xy / self._weight - mean_x * mean_y) / spread) if spread > 0.01 else 0.0
        return max(mean_y + slope * (x - mean_x), mean_y / 10)
