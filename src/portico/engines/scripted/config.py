"""How the scripted engine behaves."""

from __future__ import annotations

from dataclasses import dataclass

from portico.core.option import option


@dataclass(frozen=True, slots=True)
class ScriptedConfig:
    """Settings of the scripted engine; delays are in seconds.

    With `fail_after` every request fails once one of its sequences has so many tokens. With `fail_token_id` only those
    do whose prompt holds that token, and they fail before the first token unless `fail_after` says otherwise.

    Raises:
        ValueError: a setting is out of its range; the message is one sentence for the operator.
    """

    vocab_size: int = option(1024, "width of the vocabulary", metavar="TOKENS")
    max_model_len: int = option(32768, "prompt and output tokens together at most", metavar="TOKENS")
    eos_token_id: int = option(0, "end-of-sequence token; a script that has run out emits it", metavar="ID")
    max_num_seqs: int = option(256, "sequences that run at once; more wait", metavar="N")
    script: tuple[int, ...] = option((), "token ids that every answer consists of; none is a random walk", metavar="ID")
    tokens_per_step: int = option(1, "tokens that a running sequence gains in one step", metavar="N")
    load_delay: float = option(0.0, "time that loading takes", metavar="SECONDS")
    prefill_delay: float = option(0.0, "time until the first token of a request", metavar="SECONDS")
    token_delay: float = option(0.0, "time of one step of all running sequences", metavar="SECONDS")
    fail_after: int | None = option(None, "requests fail after so many tokens", metavar="N")
    fail_token_id: int | None = option(None, "only requests whose prompt holds this token fail", metavar="ID")

    def __post_init__(self) -> None:
        for name in ("vocab_size", "max_model_len", "max_num_seqs", "tokens_per_step"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)}.")
        for name in ("load_delay", "prefill_delay", "token_delay", "fail_after"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must not be negative, but is {getattr(self, name)}.")
        for token_id in (self.eos_token_id, *self.script):
            if not 0 <= token_id < self.vocab_size:
                raise ValueError(f"Token id {token_id} is outside the vocabulary of {self.vocab_size} tokens.")

    def failure_point(self, token_ids: tuple[int, ...]) -> int | None:
        """After how many tokens a job with this prompt fails; None is never."""
        if self.fail_token_id is None:
            return self.fail_after
        return (self.fail_after or 0) if self.fail_token_id in token_ids else None
