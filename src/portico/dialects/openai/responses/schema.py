"""The wire of the Responses API, as far as it is honoured.

Source: OpenAI API reference, "Create a model response" and "Get input token counts".
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Reasoning(msgspec.Struct, kw_only=True):
    """`reasoning`."""

    effort: Effort | None = None


class TextFormat(msgspec.Struct, kw_only=True, rename={"json_schema": "schema"}):
    """`text.format`; the schema stands beside the type here."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    json_schema: dict[str, Any] | None = None


class Text(msgspec.Struct, kw_only=True):
    """`text`."""

    format: TextFormat | None = None


class Tool(msgspec.Struct, kw_only=True):
    """One of `tools`; its fields stand beside the type here."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedTool(msgspec.Struct, kw_only=True):
    """A tool by its name."""

    type: str
    name: str | None = None


class ToolChoice(NamedTool, kw_only=True):
    """`tool_choice` where it is an object."""

    mode: Literal["auto", "required"] | None = None
    tools: list[NamedTool] | None = None


class Item(msgspec.Struct, kw_only=True):
    """One item of `input`, of whatever type."""

    type: str = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[dict[str, Any]] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[dict[str, Any]] | None = None


class Part(msgspec.Struct, kw_only=True):
    """One part of the content of an item."""

    type: str
    text: str | None = None
    refusal: str | None = None


class PromptFields(msgspec.Struct, kw_only=True):
    """What both routes have in common: everything that the prompt is made of."""

    model: str | None = None
    input: str | list[dict[str, Any]] | None = None
    instructions: str | None = None
    reasoning: Reasoning | None = None
    text: Text | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class ResponseFields(PromptFields, kw_only=True):
    """The body of `POST /v1/responses`; what says how tokens are drawn is read as on the other routes."""

    max_output_tokens: int | None = None
    stream: bool | None = None
    include: list[str] | None = None
    top_logprobs: int | None = None
    include_reasoning: bool | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
