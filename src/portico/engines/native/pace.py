"""How much of a prompt may be evaluated between two tokens of others."""

from __future__ import annotations

_FIRST_TOKENS = 64
_MIN_TOKENS = 16
_GRANULE = 16
# Weight of the newest step of decoding; the first steps of a process are slower than all later ones.
_NEWEST = 0.3
# How far one piece of a prompt moves the size of the next.
_MOST_SHRINKING, _MOST_GROWING = 0.25, 2.0
# Seconds that prompts may take of a step while other sequences wait for their next tokens, and how many of their own
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
        # Steps of decoding: how long they took and for how many sequences, and what one more adds.
        self._decode_seconds: float | None = None
        self._num_decoding = 0.0
        self._seconds_per_token = 0.0

    def note(self, num_tokens: int, num_sequences: int, seconds: float) -> None:
        """Takes note of a step with so many tokens of prompts, and one of each of so many sequences."""
        if seconds <= 0:
            return
        if not num_tokens:
            self._note_decode(num_sequences, seconds)
            return
        if not num_sequences:
            self._note_alone(num_tokens, seconds)
        elif self._decode_seconds is not None:
            # What the sequences alone would have taken does not count.
            others = max(0.0, num_sequences - self._num_decoding) * self._seconds_per_token
            seconds = max(seconds - self._decode_seconds - others, seconds / 10)
        allowed = self._allowed_seconds
        if num_tokens < self._num_tokens / 2 and seconds < allowed:
            # A small and short one tells nothing.
            return
        target = num_tokens * allowed / seconds
        least, most = self._num_tokens * _MOST_SHRINKING, self._num_tokens * _MOST_GROWING
        self._num_tokens = max(float(_MIN_TOKENS), min(max(target, least), most))

    def _note_decode(self, num_sequences: int, seconds: float) -> None:
        before = self._allowed_seconds
        if self._decode_seconds is None:
            self._decode_seconds, self._num_decoding = seconds, float(num_sequences)
        self._decode_seconds += _NEWEST * (seconds - self._decode_seconds)
        self._num_decoding += _NEWEST * (num_sequences - self._num_decoding)
        if self._allowed_seconds < before:
            self._num_tokens = max(float(_MIN_TOKENS), self._num_tokens * self._allowed_seconds / before)

    def _note_alone(self, num_tokens: int, seconds: float) -> None:
        if num_tokens >= _MIN_TOKENS_ALONE:
            self._seconds_per_token = seconds / num_tokens
        if num_tokens >= self._num_tokens_alone / 2 or seconds >= _MAX_STEP:
            self._num_tokens_alone = max(float(_MIN_TOKENS_ALONE), num_tokens * _MAX_STEP / seconds)

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
