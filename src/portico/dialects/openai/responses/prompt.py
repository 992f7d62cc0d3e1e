"""Items of a conversation and tools to the canonical prompt.

Source: OpenAI API reference, "Create a model response", `input`.
"""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from portico.core.errors import InvalidParameter, UnsupportedParameter
from portico.core.model import ServerLimits
from portico.core.request import ChatPrompt, Message
from portico.dialects import wire
from portico.dialects.openai.responses.schema import Item, Part, PromptFields, Tool
from portico.dialects.tools import Toolbox, check_name, decode_tools, with_names

_TEXT_TYPES = ("input_text", "output_text", "text", "reasoning_text", "summary_text")


def decode_prompt(fields: PromptFields, limits: ServerLimits) -> tuple[ChatPrompt, Toolbox]:
    """The conversation for the chat template, and the tools that may be called.

    Raises:
        UnsupportedParameter: items or tools of a kind that this server does not have.
        InvalidParameter: no items, content that is not text, or wrong tools.
    """
    if isinstance(fields.input, list):
        wire.require_few_messages("input", fields.input, limits.max_messages)
    toolbox = _toolbox(fields)
    turns = _Turns()
    if fields.instructions:
        turns.add("system", fields.instructions)
    if isinstance(fields.input, str):
        turns.add("user", fields.input)
    else:
        for index, item in enumerate(fields.input or ()):
            turns.take(wire.convert(item, Item, f"input[{index}]"), f"input[{index}]")
    if not turns.messages:
        raise InvalidParameter("input", "`input` must have text or at least one item.")
    effort = None if fields.reasoning is None else fields.reasoning.effort
    arguments: dict[str, Any] = {} if effort is None else {"reasoning_effort": effort}
    if effort == "none":
        arguments["enable_thinking"] = False
    prompt = ChatPrompt(
        messages=with_names([Message(turn["role"], turn["content"], turn["extra"]) for turn in turns.messages]),
        add_generation_prompt=True,
        continue_final_message=False,
        template_arguments={**arguments, **(fields.chat_template_kwargs or {})},
        template=None,
        add_special_tokens=False,
        tools=toolbox.tools,
    )
    return prompt, toolbox


class _Turns:
    """Turns of a chat template; reasoning, a message and calls of the assistant that follow each other are one."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._reasoning = ""

    def add(self, role: str, content: str, **extra: Any) -> dict[str, Any]:
        turn: dict[str, Any] = {"role": role, "content": content, "extra": extra}
        if role == "assistant" and self._reasoning:
            turn["extra"]["reasoning_content"] = self._reasoning
        self._reasoning = ""
        self.messages.append(turn)
        return turn

    def take(self, item: Item, path: str) -> None:
        match item.type:
            case "message":
                role = _require(item.role, f"{path}.role")
                self.add("system" if role == "developer" else role, _text(item.content, f"{path}.content"))
            case "reasoning":
                self._reasoning += "" if item.content is None else _text(item.content, f"{path}.content")
            case "function_call":
                self._call(item, path)
            case "function_call_output":
                call_id = _require(item.call_id, f"{path}.call_id")
                self.add("tool", _text(item.output, f"{path}.output"), tool_call_id=call_id)
            case _:
                raise UnsupportedParameter(
                    f"{path}.type", f"`{path}.type`: items of the type {item.type!r} are not supported."
                )

    def _call(self, item: Item, path: str) -> None:
        arguments: Any = _require(item.arguments, f"{path}.arguments")
        # Templates write JSON themselves; what is none stays text.
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            arguments = msgspec.json.decode(arguments)
        function = {"name": _require(item.name, f"{path}.name"), "arguments": arguments}
        call = {"id": _require(item.call_id, f"{path}.call_id"), "type": "function", "function": function}
        continues = self.messages and self.messages[-1]["role"] == "assistant" and not self._reasoning
        turn = self.messages[-1] if continues else self.add("assistant", "")
        turn["extra"].setdefault("tool_calls", []).append(call)


def _text(content: str | list[dict[str, Any]] | None, path: str) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        raise wire.SchemaMismatch(path, f"`{path}` is required in items of this type.", is_missing=True)
    texts = []
    for index, fields in enumerate(content):
        place = f"{path}[{index}]"
        part = wire.convert(fields, Part, place)
        if part.type not in (*_TEXT_TYPES, "refusal"):
            raise InvalidParameter(
                f"{place}.type",
                f"`{place}.type`: content of the type {part.type!r} is not supported, messages are text.",
            )
        texts.append(_require(part.refusal if part.type == "refusal" else part.text, f"{place}.text"))
    return "".join(texts)


def _toolbox(fields: PromptFields) -> Toolbox:
    """The tools as chat templates read them."""
    if fields.tools == []:
        # The official client's helpers send an empty list for none.
        return Toolbox((), (), wire.or_default(fields.parallel_tool_calls, True))
    tools = [_tool(each, f"tools[{index}]") for index, each in enumerate(fields.tools or ())]
    body = {"tools": tools or None, "parallel_tool_calls": fields.parallel_tool_calls}
    choice = fields.tool_choice
    if choice is None or isinstance(choice, str):
        return decode_tools({**body, "tool_choice": choice})
    nested: dict[str, Any] = {"type": choice.type}
    if choice.type == "function":
        nested["function"] = {"name": choice.name or ""}
    if choice.type == "allowed_tools":
        allowed = [{"type": each.type, "function": {"name": each.name or ""}} for each in choice.tools or ()]
        nested["allowed_tools"] = {"mode": choice.mode or "auto", "tools": allowed}
    return decode_tools({**body, "tool_choice": nested})


def _tool(fields: dict[str, Any], path: str) -> dict[str, Any]:
    tool = wire.convert(fields, Tool, path)
    if tool.type != "function":
        raise UnsupportedParameter(f"{path}.type", f"`{path}.type`: tools are functions, not {tool.type!r}.")
    name = _require(tool.name, f"{path}.name")
    check_name(name, f"{path}.name")
    function: dict[str, Any] = {"name": name}
    for key in ("description", "parameters", "strict"):
        if fields.get(key) is not None:
            function[key] = fields[key]
    return {"type": "function", "function": function}


def _require(value: str | None, path: str) -> str:
    if value is None:
        raise wire.SchemaMismatch(path, f"`{path}` is required in items of this type.", is_missing=True)
    return value
