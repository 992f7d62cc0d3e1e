"""How much of a prompt may be evaluated between two tokens of others."""

from __future__ import annotations

_FIRST_TOKENS = 64
_MIN_TOKENS = 8
_GRANULE = 8
# Weight of the newest step: of one that was faster, since the first ones of a process are slower than all later ones;
# and of one that was slower, which may be because others took a core for a while. It counts as twice as slow at most.
_FASTER, _SLOWER, _MOST_SLOWER = 0.1, 0.02, 2.0
# How far one piece of a prompt moves the size of the next.
_MOST_SHRINKING, _MOST_GROWING = 0.25, 2.0
# Seconds that prompts may take of a step while other sequences wait for their next tokens, and how many of their own
# steps: who reads along notices a gap by what it is used to. Where more wait for their first token than for their next,
# it is as many times more.
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
        self._step_times = _StepTimes()
        self._num_sequences = 0

    def note(self, num_tokens: int, num_sequences: int, seconds: float) -> None:
        """Takes note of a step with so many tokens of prompts, and one of each of so many sequences."""
        if seconds <= 0:
            return
        before = self._allowed_seconds
        if num_sequences:
            self._num_sequences = num_sequences
        if not num_tokens or not num_sequences:
            # As many tokens of a prompt take as long as those of so many sequences.
            self._step_times.note(num_tokens + num_sequences, seconds)
        if not num_tokens:
            if self._allowed_seconds < before:
                self._num_tokens = max(float(_MIN_TOKENS), self._num_tokens * self._allowed_seconds / before)
            return
        if num_sequences:
            # What the sequences alone would have taken does not count.
            seconds = max(seconds - (self._step_times.at(num_sequences) or 0.0), seconds / 10)
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
        decode_seconds = self._step_times.at(self._num_sequences) if self._num_sequences else None
        return _MAX_STALL if decode_seconds is None else min(_MAX_STALL, _MAX_STALLED_STEPS * decode_seconds)


class _StepTimes:
    """Seconds of steps by the number of their tokens, each for numbers about as large."""

    def __init__(self) -> None:
        # By the number of binary digits: the mean number of tokens and of seconds.
        self._means: dict[int, tuple[float, float]] = {}

    def note(self, num_tokens: int, seconds: float) -> None:
        tokens, mean = self._means.get(num_tokens.bit_length(), (num_tokens, seconds))
        weight = _FASTER if seconds < mean else _SLOWER
        self._means[num_tokens.bit_length()] = (
            tokens + weight * (num_tokens - tokens),
            mean + weight * (min(seconds, _MOST_SLOWER * mean) - mean),
        )

    def at(self, num_tokens: int) -> float | None:
        """What so many take; between sizes that were seen by their distance. None before the first."""
        known = self._means.get(num_tokens.bit_length())
        if known:
            return known[1]
        less = max((each for each in self._means.values() if each[0] < num_tokens), default=None)
        more = min((each for each in self._means.values() if each[0] > num_tokens), default=None)
        if not less or not more:
            nearest = less or more
            return nearest[1] if nearest else None
        return less[1] + (more[1] - less[1]) * (num_tokens - less[0]) / (more[0] - less[0])
