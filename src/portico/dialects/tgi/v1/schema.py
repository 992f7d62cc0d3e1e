"""The shapes of the bodies. Null means absent in all of them, so absent fields are None.

Source: `ChatRequest` and `CompletionRequest` of TGI 3's router.
"""

from __future__ import annotations

from typing import Any

import msgspec

from portico.dialects.tgi.schema import Unsigned


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`stream_options` of a chat."""

    include_usage: bool = False


class ChatFields(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /v1/chat/completions`; messages and tools are read one by one."""

    messages: list[dict[str, Any]]
    model: str | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool = False
    top_logprobs: Unsigned | None = None
    max_tokens: Unsigned | None = None
    max_completion_tokens: Unsigned | None = None
    presence_penalty: float = 0.0
    repetition_penalty: float | None = None
    response_format: dict[str, Any] | None = None
    seed: Unsigned | None = None
    stop: str | list[str] = []
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    temperature: float | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    top_p: float | None = None


class CompletionFields(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /v1/completions`."""

    prompt: str | list[str]
    model: str | None = None
    frequency_penalty: float | None = None
    max_tokens: Unsigned | None = None
    repetition_penalty: float | None = None
    seed: Unsigned | None = None
    stop: str | list[str] = []
    stream: bool = False
    suffix: str | None = None
    temperature: float | None = None
    top_p: float | None = None
