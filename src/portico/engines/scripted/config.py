"""How the scripted engine behaves."""

from __future__ import annotations

from dataclasses import dataclass

from portico.core.option import option


@dataclass(frozen=True, slots=True)
class ScriptedConfig:
    """Settings of the scripted engine; delays are in seconds.

    Raises:
        ValueError: a setting is out of its range; the message is one sentence for the operator.
    """

    vocab_size: int = option(1024, "Width of the vocabulary.")
    max_model_len: int = option(32768, "Prompt and output tokens that fit together.")
    eos_token_id: int = option(0, "The end-of-sequence token; a script that has run out emits it.")
    max_num_seqs: int = option(256, "Sequences that run at once; further requests wait in order of arrival.")
    script: tuple[int, ...] = option((), "Token ids that every sequence emits; empty is a pseudo-random walk.")
    tokens_per_step: int = option(1, "Tokens that a running sequence gains in one step.")
    load_delay: float = option(0.0, "Time that loading takes.")
    prefill_delay: float = option(0.0, "Time from the admission of a request to its first token.")
    token_delay: float = option(0.0, "Time of one step of all running sequences.")
    fail_after: int | None = option(None, "Requests fail after so many tokens of a sequence.")
    fail_token_id: int | None = option(None, "Only requests whose prompt holds this token fail (at once by default).")

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
