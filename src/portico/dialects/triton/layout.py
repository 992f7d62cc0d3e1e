"""How an answer is laid out, and the object that whole answers and events of `generate` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portico.core.events import FinishReason
from portico.dialects import wire
from portico.dialects.triton.outputs import output_values
from portico.dialects.triton.profile import Profile
from portico.dialects.triton.responses import Part, PieceReader, Response, ResponseReader, WholeReader


@dataclass(frozen=True, slots=True)
class Layout:
    """How an answer is laid out.

    Attributes:
        profile: the flavour of the dialect.
        id: the id of the request, or empty.
        model_version: the version in answers.
        prefix: stands before the text of whole answers.
        is_incremental: a stream has a response for each piece of text; else one for all of it.
        outputs: names of the output tensors that are shown.
        details: an object of details is shown.
    """

    profile: Profile
    id: str
    model_version: str | None
    prefix: str
    is_incremental: bool
    outputs: tuple[str, ...]
    details: bool

    def reader(self, num_choices: int, *, tells_end: bool) -> ResponseReader:
        """What makes the responses of a stream."""
        if self.is_incremental:
            return PieceReader(num_choices, tells_end=tells_end)
        return WholeReader(num_choices, self.prefix)


def encode(layout: Layout, response: Response) -> bytes:
    """One response: its keys in alphabetical order, and a list per output only when it has several elements."""
    values: dict[str, Any] = {"model_name": response.model, "model_version": layout.model_version}
    for name in layout.outputs:
        values[name] = _unwrap(output_values(name, response.num_input_tokens, response.parts))
    if layout.id:
        values["id"] = layout.id
    if layout.details:
        values["details"] = _unwrap([_details(layout.profile, part) for part in response.parts])
    return wire.encode_json(dict(sorted(values.items())))


def _details(profile: Profile, part: Part) -> dict[str, Any]:
    reason = profile.abort_reason if part.reason is FinishReason.ABORT else part.detailed_reason
    details: dict[str, Any] = {"finish_reason": reason, "generated_tokens": part.total_tokens}
    if profile.has_costs:
        return {**details, "first_token_cost": None, "decode_cost": None}
    tokens = [
        {"id": token.id, "text": token.text, "logprob": token.logprob, "special": token.special}
        for token in part.tokens
    ]
    return {**details, "logprobs": tokens}


def _unwrap(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else values
