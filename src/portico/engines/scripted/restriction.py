"""What a sequence of the scripted engine may not draw."""

from __future__ import annotations

from portico.core.engine import TokenJob


class Restriction:
    """The forbidden tokens of one sequence, of which it keeps the output as far as bans look back."""

    __slots__ = ("_allowed", "_banned", "_min_tokens", "_output", "_stop_token_ids")

    def __init__(self, job: TokenJob) -> None:
        allowed = job.sampling.allowed_token_ids
        self._allowed = None if allowed is None else frozenset(allowed)
        self._banned = job.sampling.banned_sequences
        self._min_tokens = job.min_tokens
        self._stop_token_ids = job.stop_token_ids
        self._output: list[int] = []

    @classmethod
    def of(cls, job: TokenJob) -> Restriction | None:
        """The restriction that a job asks for, if any."""
        sampling = job.sampling
        is_needed = sampling.allowed_token_ids is not None or sampling.banned_sequences or job.min_tokens
        return cls(job) if is_needed else None

    def choose(self, token_id: int, vocab_size: int) -> int:
        """The token itself or the next one around the vocabulary that may be drawn, which is then in the output."""
        around = [(token_id + rank) % vocab_size for rank in range(vocab_size)]
        allowed = [each for each in around if self._allowed is None or each in self._allowed]
        if len(self._output) < self._min_tokens:
            allowed = [each for each in allowed if each not in self._stop_token_ids] or allowed
        chosen = next((each for each in allowed if not self._completes_ban(each)), allowed[0])
        self._output.append(chosen)
        return chosen

    def _completes_ban(self, token_id: int) -> bool:
        output = (*self._output, token_id)
        return any(output[-len(banned) :] == banned for banned in self._banned)
