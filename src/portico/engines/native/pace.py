"""How much of a prompt may be evaluated between two tokens of others."""

from __future__ import annotations

_FIRST_TOKENS = 64
_MIN_TOKENS = 16
_GRANULE = 16
# Weight of the newest step of decoding; the first steps of a process are slower than all later ones.
_NEWEST = 0.3
# How far one piece of a prompt moves the size of the next.
_MOST_SHRINKING, _MOST_GROWING = 0.25, 2.0
# Seconds that a step of prefill may take while other sequences wait for their next tokens, and how many of their own
# steps: who reads along notices a gap by what it is used to.
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
        self._decode_seconds: float | None = None

    def note(self, num_tokens: int, seconds: float) -> None:
        """Takes note of a step of prefill; one that is short and small tells nothing."""
        if seconds > 0 and (num_tokens >= self._num_tokens_alone / 2 or seconds >= _MAX_STEP):
            self._num_tokens_alone = max(float(_MIN_TOKENS_ALONE), num_tokens * _MAX_STEP / seconds)
        allowed = self._allowed_seconds
        if seconds <= 0 or (num_tokens < self._num_tokens / 2 and seconds < allowed):
            return
        target = num_tokens * allowed / seconds
        least, most = self._num_tokens * _MOST_SHRINKING, self._num_tokens * _MOST_GROWING
        self._num_tokens = max(float(_MIN_TOKENS), min(max(target, least), most))

    def note_decode(self, seconds: float) -> None:
        """Takes note of a step of decoding."""
        before = self._allowed_seconds
        average = seconds if self._decode_seconds is None else self._decode_seconds
        self._decode_seconds = average + _NEWEST * (seconds - average)
        if self._allowed_seconds < before:
            self._num_tokens = max(float(_MIN_TOKENS), self._num_tokens * self._allowed_seconds / before)

    @property
    def budget(self) -> int:
        """Tokens of prompts that others may be kept waiting for; round, and never so few that little is gained."""
        return max(_MIN_TOKENS, int(self._num_tokens) // _GRANULE * _GRANULE)

    @property
    def budget_alone(self) -> int:
        """Tokens of prompts of one step while nothing else runs."""
        return int(self._num_tokens_alone) // _GRANULE * _GRANULE

    @property
    def _allowed_seconds(self) -> float:
        if self._decode_seconds is None:
            return _MAX_STALL
        return min(_MAX_STALL, _MAX_STALLED_STEPS * self._decode_seconds)
