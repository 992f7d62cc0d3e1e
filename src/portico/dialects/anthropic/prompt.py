"""Messages, system text and tools to the canonical prompt.

A message of this wire can be several turns of a chat template: each result of a tool is one of its own.

Source: Anthropic API reference, "Create a message", and "Tool use with Claude".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portico.core.errors import InvalidParameter, UnsupportedParameter
from portico.core.model import ServerLimits
from portico.core.request import ChatPrompt, Message
from portico.dialects import wire
from portico.dialects.anthropic import schema
from portico.dialects.anthropic.schema import PromptFields
from portico.dialects.tools import Toolbox, check_name, decode_tools, with_names

# Beside the fields of a tool there are a hint for speed, and one for how arguments are cut: here they never are.
_TOOL_KEYS = {"type", "name", "description", "input_schema", "strict", "cache_control", "eager_input_streaming"}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def decode_prompt(fields: PromptFields, limits: ServerLimits) -> tuple[ChatPrompt, Toolbox]:
    """The conversation for the chat template, and the tools that may be called.

    Raises:
        UnsupportedParameter: a kind of tool or of thinking that this server does not have.
        InvalidParameter: no messages, content that is not text, or wrong tools.
    """
    if not fields.messages:
        raise InvalidParameter("messages", "`messages` must have at least one message.")
    wire.require_few_messages("messages", fields.messages, limits.max_messages)
    toolbox = _toolbox(fields)
    turns = [turn for index, each in enumerate(fields.messages) for turn in _turns(each, f"messages[{index}]")]
    if fields.system:
        turns.insert(0, Message("system", _text(fields.system, "system"), {}))
    continues = turns[-1].role == "assistant" and "tool_calls" not in turns[-1].extra
    prompt = ChatPrompt(
        messages=with_names(turns),
        add_generation_prompt=not continues,
        continue_final_message=continues,
        template_arguments={**_template_arguments(fields), **(fields.chat_template_kwargs or {})},
        template=None,
        add_special_tokens=False,
        tools=toolbox.tools,
    )
    return prompt, toolbox


def _template_arguments(fields: PromptFields) -> dict[str, Any]:
    """What chat templates of reasoning models read."""
    arguments: dict[str, Any] = {}
    if fields.thinking is not None:
        if fields.thinking.type in ("enabled", "between_tools"):
            raise UnsupportedParameter(
                "thinking.type",
                f"`thinking.type` is not supported with the value {fields.thinking.type!r} (accepted: disabled, "
                "adaptive): thinking is not limited apart from the answer.",
            )
        if fields.thinking.display == "summarized":
            raise UnsupportedParameter(
                "thinking.display", "`thinking.display` is not supported with this value: thinking is not summarised."
            )
        arguments["enable_thinking"] = fields.thinking.type == "adaptive"
    if fields.output_config is not None and fields.output_config.effort is not None:
        arguments["reasoning_effort"] = fields.output_config.effort
    return arguments


def _toolbox(fields: PromptFields) -> Toolbox:
    """The tools as chat templates read them."""
    choice = fields.tool_choice
    tools = [_tool(tool, f"tools[{index}]", choice) for index, tool in enumerate(fields.tools or ())]
    if choice is None:
        return decode_tools({"tools": tools or None})
    body: dict[str, Any] = {"tools": tools or None, "parallel_tool_calls": not choice.disable_parallel_tool_use}
    if choice.type != "tool":
        return decode_tools({**body, "tool_choice": _CHOICES[choice.type]})
    if choice.name not in [tool["function"]["name"] for tool in tools]:
        raise InvalidParameter("tool_choice.name", f"`tool_choice.name`: there is no tool {choice.name!r} in `tools`.")
    return decode_tools({**body, "tool_choice": {"type": "function", "function": {"name": choice.name}}})


def _tool(fields: dict[str, Any], path: str, choice: schema.ToolChoice | None) -> dict[str, Any]:
    if fields.get("type") not in (None, "custom"):
        raise UnsupportedParameter(
            f"{path}.type", f"`{path}.type`: there are no tools on the server, such as {fields['type']!r}."
        )
    for key in sorted(fields.keys() - _TOOL_KEYS):
        if fields[key] is not None:
            raise UnsupportedParameter(f"{path}.{key}", f"`{path}.{key}` is not supported.")
    tool = wire.convert(fields, schema.Tool, path)
    check_name(tool.name, f"{path}.name")
    if tool.strict and (choice is None or choice.type not in ("any", "tool")):
        raise UnsupportedParameter(
            f"{path}.strict",
            f"`{path}.strict` is not supported unless `tool_choice` forces a call: only then is the schema enforced.",
        )
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _turns(fields: dict[str, Any], path: str) -> Iterator[Message]:
    message = wire.convert(fields, schema.Message, path)
    if isinstance(message.content, str):
        yield Message(message.role, message.content, {})
        return
    texts: list[str] = []
    extra: dict[str, Any] = {}
    has_results = False
    for index, block in enumerate(message.content):
        place = f"{path}.content[{index}]"
        content = wire.convert(block, schema.Block, place)
        match (message.role, content.type):
            case (_, "text"):
                texts.append(_require(content.text, f"{place}.text"))
            case ("assistant", "thinking"):
                thinking = _require(content.thinking, f"{place}.thinking")
                extra["reasoning_content"] = extra.get("reasoning_content", "") + thinking
            case ("assistant", "tool_use"):
                extra.setdefault("tool_calls", []).append(_call(content, place))
            case ("user", "tool_result"):
                has_results = True
                yield _result(content, block, place)
            case _:
                raise InvalidParameter(
                    f"{place}.type",
                    f"`{place}.type`: content of the type {content.type!r} is not supported in messages of the role "
                    f"{message.role}, messages are text.",
                )
    if texts or extra or not has_results:
        yield Message(message.role, "".join(texts), extra)


def _call(block: schema.Block, path: str) -> dict[str, Any]:
    function = {"name": _require(block.name, f"{path}.name"), "arguments": block.input or {}}
    return {"id": _require(block.id, f"{path}.id"), "type": "function", "function": function}


def _result(block: schema.Block, fields: dict[str, Any], path: str) -> Message:
    extra: dict[str, Any] = {"tool_call_id": _require(block.tool_use_id, f"{path}.tool_use_id")}
    if fields.get("is_error"):
        extra["is_error"] = True
    return Message("tool", _text(block.content or "", f"{path}.content"), extra)


def _text(content: str | list[dict[str, Any]], path: str) -> str:
    """The text of content that can be nothing else."""
    if isinstance(content, str):
        return content
    texts = []
    for index, fields in enumerate(content):
        place = f"{path}[{index}]"
        block = wire.convert(fields, schema.Block, place)
        if block.type != "text":
            raise InvalidParameter(
                f"{place}.type", f"`{place}.type`: content of the type {block.type!r} is not supported here, only text."
            )
        texts.append(_require(block.text, f"{place}.text"))
    return "".join(texts)


def _require(value: str | None, path: str) -> str:
    if value is None:
        raise wire.SchemaMismatch(path, f"`{path}` is required in blocks of this type.", is_missing=True)
    return value
