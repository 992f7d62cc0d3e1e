"""How fast prompts are evaluated."""

from __future__ import annotations

_MIN_TOKENS = 128
_GRANULE = 64
# Weight of the newest step; the first steps of a process are slower than all later ones.
_NEWEST = 0.3


class PrefillPace:
    """A moving average over steps of prefill."""

    def __init__(self) -> None:
        self._tokens_per_second: float | None = None

    def note(self, num_tokens: int, seconds: float) -> None:
        """Takes note of a step; short ones tell nothing."""
        if num_tokens < _GRANULE or seconds <= 0:
            return
        newest = num_tokens / seconds
        before = newest if self._tokens_per_second is None else self._tokens_per_second
        self._tokens_per_second = before + _NEWEST * (newest - before)

    def tokens_within(self, seconds: float) -> int:
        """Tokens that take about so long, in round numbers; never so few that little is gained by each step."""
        if self._tokens_per_second is None:
            return _MIN_TOKENS
        return max(_MIN_TOKENS, int(self._tokens_per_second * seconds) // _GRANULE * _GRANULE)
