"""Conversations as several wires write them, to the canonical prompt.

Source: OpenAI API reference, "Create chat completion", `messages`; what steers the chat template is an addition of
servers of open models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from portico.core.errors import InvalidParameter, UnsupportedParameter
from portico.core.request import ChatPrompt, Message
from portico.dialects import wire
from portico.dialects.tools import with_names

# Chat templates may know roles of their own; what such a name is made of cannot be taken for markup.
_ROLE = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


class TemplateFields(msgspec.Struct, kw_only=True):
    """How a conversation becomes a prompt."""

    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    add_special_tokens: bool | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class ChatMessage(msgspec.Struct, kw_only=True):
    """One of `messages`; other keys are for the chat template."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    reasoning: str | None = None


class ContentPart(msgspec.Struct, kw_only=True):
    """One part of a message's content; `text` and `refusal` are the kinds that are text."""

    type: str
    text: str | None = None
    refusal: str | None = None


def decode_conversation(
    messages: list[dict[str, Any]],
    body: dict[str, Any],
    trusts_template: bool,
    tools: tuple[Mapping[str, Any], ...] = (),
) -> ChatPrompt:
    """The conversation in a request's body; `trusts_template` lets the request bring its own chat template.

    Raises:
        UnsupportedParameter: a template that is not trusted.
        InvalidParameter: contradicting wishes, or messages that `decode_messages` refuses.
    """
    fields = wire.convert(body, TemplateFields)
    if fields.chat_template is not None and not trusts_template:
        raise UnsupportedParameter(
            "chat_template",
            "Chat template is passed with request, but --trust-request-chat-template is not set. "
            "Refused request with untrusted chat template.",
        )
    add_generation_prompt = wire.or_default(fields.add_generation_prompt, True)
    continue_final_message = wire.or_default(fields.continue_final_message, False)
    if add_generation_prompt and continue_final_message:
        raise InvalidParameter(
            "continue_final_message",
            "Cannot set both `continue_final_message` and `add_generation_prompt` to True.",
        )
    return ChatPrompt(
        messages=decode_messages(messages),
        add_generation_prompt=add_generation_prompt,
        continue_final_message=continue_final_message,
        template_arguments=fields.chat_template_kwargs or {},
        template=fields.chat_template,
        add_special_tokens=wire.or_default(fields.add_special_tokens, False),
        tools=tools,
    )


def decode_messages(messages: list[dict[str, Any]]) -> tuple[Message, ...]:
    """The conversation.

    Raises:
        InvalidParameter: no messages, a role that is no name, missing content, or content that is not text.
    """
    if not messages:
        raise InvalidParameter("messages", "`messages` must have at least one message.")
    return with_names([_decode_message(message, f"messages[{index}]") for index, message in enumerate(messages)])


def _decode_message(fields: dict[str, Any], path: str) -> Message:
    message = wire.convert(fields, ChatMessage, path)
    if not _ROLE.match(message.role):
        raise InvalidParameter(
            f"{path}.role", f"`{path}.role` must be 1 to 64 letters, digits, underscores and dashes."
        )
    if message.role == "tool" and message.tool_call_id is None:
        raise InvalidParameter(
            f"{path}.tool_call_id", f"`{path}.tool_call_id` is required in messages of the role tool."
        )
    if fields.get("audio") is not None:
        raise InvalidParameter(f"{path}.audio", f"`{path}.audio`: audio is not supported, messages are text.")
    extra = {key: value for key, value in fields.items() if key not in ("role", "content") and value is not None}
    if message.reasoning is not None:
        # Chat templates read it by the name that servers gave it first.
        extra.setdefault("reasoning_content", message.reasoning)
    if message.tool_calls:
        extra["tool_calls"] = [_readable_call(call) for call in message.tool_calls]
    # Chat templates know the older word for the same turn.
    role = "system" if message.role == "developer" else message.role
    return Message(role, _decode_content(message, path), extra)


def _decode_content(message: ChatMessage, path: str) -> str:
    path = f"{path}.content"
    if message.content is None:
        if message.tool_calls:
            return ""
        raise InvalidParameter(path, f"`{path}` must be a string or a list of text parts.")
    if isinstance(message.content, str):
        return message.content
    return "".join(_decode_part(part, f"{path}[{index}]") for index, part in enumerate(message.content))


def _decode_part(fields: dict[str, Any], path: str) -> str:
    part = wire.convert(fields, ContentPart, path)
    match part.type:
        case "text":
            text = part.text
        case "refusal":
            text = part.refusal
        case _:
            raise InvalidParameter(
                f"{path}.type",
                f"`{path}.type`: content of the type {part.type!r} is not supported, messages are text.",
            )
    if text is None:
        raise InvalidParameter(f"{path}.{part.type}", f"`{path}.{part.type}` is required in parts of this type.")
    return text


def _readable_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call with its arguments as an object: on this wire they are JSON in a string, templates write JSON."""
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return dict(call)
    try:
        arguments = msgspec.json.decode(function["arguments"])
    except (msgspec.DecodeError, RecursionError):
        return dict(call)
    return {**call, "function": {**function, "arguments": arguments}}
