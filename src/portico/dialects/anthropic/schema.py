"""The wire of Anthropic's requests, as far as it is honoured.

Source: Anthropic API reference, "Create a message". Null and absent mean the same everywhere, so both are None. Fields
that change nothing are the ledgers' business alone.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Thinking(msgspec.Struct, kw_only=True):
    """`thinking`."""

    type: Literal["disabled", "adaptive", "enabled", "between_tools"]
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(msgspec.Struct, kw_only=True, rename={"json_schema": "schema"}):
    """`output_config.format`."""

    type: Literal["json_schema"]
    json_schema: dict[str, Any]


class OutputConfig(msgspec.Struct, kw_only=True):
    """`output_config`."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class ToolChoice(msgspec.Struct, kw_only=True):
    """`tool_choice`."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Tool(msgspec.Struct, kw_only=True):
    """One of `tools`."""

    name: str
    input_schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class Message(msgspec.Struct, kw_only=True):
    """One of `messages`; blocks are read one by one."""

    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]]


class Block(msgspec.Struct, kw_only=True):
    """One block of content, of whatever type."""

    type: str
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | list[dict[str, Any]] | None = None


class PromptFields(msgspec.Struct, kw_only=True):
    """What both routes have in common: everything that the prompt is made of."""

    messages: list[dict[str, Any]]
    model: str | None = None
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class MessagesFields(PromptFields, kw_only=True):
    """The body of `POST /v1/messages`."""

    max_tokens: int
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    cache_salt: str | None = None
