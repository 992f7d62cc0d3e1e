"""The flavours of this dialect."""

from __future__ import annotations

from dataclasses import dataclass

from portico.dialects.triton import errors


@dataclass(frozen=True, slots=True)
class Profile:
    """What differs between the servers that speak this dialect.

    Attributes:
        max_tokens: output tokens when the request does not say.
        draws_by_default: tokens are drawn when the request says nothing about sampling; else they are greedy.
        echoes_prompt: the prompt stands before the text of an answer that is not streamed, unless excluded.
        streams_by_path: `generate_stream` streams without being told to; else it gives one event then.
        event_prefix: what stands before the JSON of an event.
        model_version: what answers say when the path names no version.
        always_has_id: answers to requests without an id carry the server's own.
        timeout_unit: seconds that `timeout` is counted in.
        infers_tokens: `infer` takes token ids too, in one tensor of UINT32.
        abort_reason: what `details` calls the end of a choice that was stopped from outside.
        has_costs: `details` has places for step timings in place of tokens.
        errors: how errors are told.
    """

    max_tokens: int
    draws_by_default: bool
    echoes_prompt: bool
    streams_by_path: bool
    event_prefix: bytes
    model_version: str | None
    always_has_id: bool
    timeout_unit: float
    infers_tokens: bool
    abort_reason: str
    has_costs: bool
    errors: errors.ErrorTable


DEFAULT = Profile(
    max_tokens=16,
    draws_by_default=True,
    echoes_prompt=True,
    streams_by_path=False,
    event_prefix=b"data: ",
    model_version="1",
    always_has_id=False,
    timeout_unit=1e-6,
    infers_tokens=False,
    abort_reason="abort",
    has_costs=False,
    errors=errors.TRITON,
)
"""Triton with its vLLM backend."""

MINDIE = Profile(
    max_tokens=20,
    draws_by_default=False,
    echoes_prompt=False,
    streams_by_path=True,
    event_prefix=b"data:",
    model_version=None,
    always_has_id=True,
    timeout_unit=1.0,
    infers_tokens=True,
    # It has three words, and this one is for what neither the model nor a limit ended.
    abort_reason="stop_sequence",
    has_costs=True,
    errors=errors.MINDIE,
)
"""The Triton routes of MindIE Service."""
