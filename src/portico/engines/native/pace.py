"""How fast prompts are evaluated, and how much of one may stand between two tokens of others."""

from __future__ import annotations

_MIN_TOKENS = 16
_GRANULE = 16
# Weight of the newest step; the first steps of a process are slower than all later ones.
_NEWEST = 0.3


# Seconds that a step of prefill may take while other sequences wait for their next tokens, and how many of their own
# steps: who reads along notices a gap by what it is used to.
_MAX_STALL = 0.1
_MAX_STALLED_STEPS = 2


class PrefillPace:
    """Moving averages over steps of prefill and of decoding."""

    def __init__(self) -> None:
        self._tokens_per_second: float | None = None
        self._decode_seconds: float | None = None

    def note(self, num_tokens: int, seconds: float) -> None:
        """Takes note of a step; short ones tell nothing."""
        if num_tokens < _GRANULE or seconds <= 0:
            return
        self._tokens_per_second = _moved(self._tokens_per_second, num_tokens / seconds)

    def note_decode(self, seconds: float) -> None:
        """Takes note of a step of decoding."""
        self._decode_seconds = _moved(self._decode_seconds, seconds)

    @property
    def budget(self) -> int:
        """Tokens of prompts that others may be kept waiting for; round, and never so few that little is gained."""
        if self._tokens_per_second is None:
            return _MIN_TOKENS
        seconds = _MAX_STALL
        if self._decode_seconds is not None:
            seconds = min(seconds, _MAX_STALLED_STEPS * self._decode_seconds)
        return max(_MIN_TOKENS, int(self._tokens_per_second * seconds) // _GRANULE * _GRANULE)


def _moved(average: float | None, newest: float) -> float:
    return newest if average is None else average + _NEWEST * (newest - average)
