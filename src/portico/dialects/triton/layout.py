"""How an answer is laid out, and the object that whole answers and events share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from portico.core.events import FinishReason, Token
from portico.dialects import wire
from portico.dialects.triton.profile import Profile

UNFINISHED = "None"
"""What stands for the finish reason of a choice that goes on."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How an answer is laid out.

    Attributes:
        profile: the flavour of the dialect.
        id: the id of the request, or empty.
        model_version: the version in answers.
        prefix: stands before the text of whole answers.
        is_incremental: a stream has an event for each piece of text; else one for all of it.
        finish_reason, num_input_tokens, num_output_tokens, cumulative_logprob, details: these are shown.
    """

    profile: Profile
    id: str
    model_version: str | None
    prefix: str
    is_incremental: bool
    finish_reason: bool
    num_input_tokens: bool
    num_output_tokens: bool
    cumulative_logprob: bool
    details: bool


@dataclass(frozen=True, slots=True)
class Part:
    """What one response says about one choice.

    `num_tokens` and `tokens` are new in this response, `total_tokens` and `logprob` are of the choice so far.
    """

    text: str
    num_tokens: int
    tokens: tuple[Token, ...]
    total_tokens: int
    logprob: float
    reason: FinishReason | None
    detailed_reason: str | None


def detailed_reason(reason: FinishReason, stop: str | int | None) -> str:
    """The word that `details` has for why a choice ended."""
    match reason:
        case FinishReason.LENGTH:
            return "length"
        case FinishReason.STOP:
            return "eos_token" if stop is None else "stop_sequence"
        case FinishReason.ABORT:
            return "abort"


def encode(layout: Layout, model: str, num_input_tokens: int, parts: Sequence[Part]) -> bytes:
    """One response: its keys in alphabetical order, and a list per output only when there are several choices."""
    values: dict[str, Any] = {
        "model_name": model,
        "model_version": layout.model_version,
        "text_output": _unwrap(part.text for part in parts),
    }
    if layout.id:
        values["id"] = layout.id
    if layout.finish_reason:
        values["finish_reason"] = _unwrap(part.reason.value if part.reason else UNFINISHED for part in parts)
    if layout.num_input_tokens:
        values["num_input_tokens"] = num_input_tokens
    if layout.num_output_tokens:
        values["num_output_tokens"] = _unwrap(part.num_tokens for part in parts)
    if layout.cumulative_logprob:
        values["cumulative_logprob"] = _unwrap(part.logprob for part in parts)
    if layout.details:
        values["details"] = _unwrap(_details(layout.profile, part) for part in parts)
    return wire.encode_json(dict(sorted(values.items())))


def total_logprob(tokens: Iterable[Token]) -> float:
    """The log-probability of tokens together."""
    return sum(token.logprob or 0.0 for token in tokens)


def _details(profile: Profile, part: Part) -> dict[str, Any]:
    details: dict[str, Any] = {"finish_reason": part.detailed_reason, "generated_tokens": part.total_tokens}
    if profile.has_costs:
        return {**details, "first_token_cost": None, "decode_cost": None}
    tokens = [
        {"id": token.id, "text": token.text, "logprob": token.logprob, "special": token.special}
        for token in part.tokens
    ]
    return {**details, "logprobs": tokens}


def _unwrap(values: Iterable[Any]) -> Any:
    found = list(values)
    return found[0] if len(found) == 1 else found
