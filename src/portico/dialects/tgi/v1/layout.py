"""What both OpenAI routes have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from portico.core.events import FinishReason, Usage
from portico.dialects.tgi.layout import ended_by
from portico.dialects.tgi.profile import Profile


@dataclass(frozen=True, slots=True)
class Layout:
    """What answers begin with, and how their ends are named.

    Attributes:
        profile: the flavour of the dialect.
        model: the name that the answer has; None is the model's own.
        created: Unix time in seconds.
        max_new_tokens: output tokens that were asked for; None is as many as fit.
    """

    profile: Profile
    model: str | None
    created: int
    max_new_tokens: int | None

    def head(self, kind: str, model: str) -> dict[str, Any]:
        """The first fields of an answer or a chunk; answers have no ids."""
        return {
            "object": kind,
            "id": "",
            "created": self.created,
            "model": self.model or model,
            "system_fingerprint": self.profile.fingerprint,
        }

    def finish_reason(self, reason: FinishReason, stop: str | int | None, num_tokens: int) -> str:
        """TGI's word, with OpenAI's for the end of the sequence."""
        word = ended_by(self.profile, self.max_new_tokens, reason, stop, num_tokens)
        return "stop" if word == "eos_token" else word


def encode_usage(usage: Usage) -> dict[str, int]:
    """The counts of tokens."""
    return {
        "prompt_tokens": usage.num_prompt_tokens,
        "completion_tokens": usage.num_output_tokens,
        "total_tokens": usage.num_prompt_tokens + usage.num_output_tokens,
    }
