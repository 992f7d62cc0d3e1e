"""Tools as several wires describe them, and which of them a model may call.

Source: OpenAI API reference, "Create chat completion", `tools` and `tool_choice`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from portico.core.errors import InvalidParameter, UnsupportedParameter
from portico.core.grammar import Grammar, GrammarKind
from portico.core.request import Markup, Message, Sampling
from portico.dialects import wire

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_MAX_TOOLS = 512


class Function(msgspec.Struct, kw_only=True):
    """The `function` of a tool; `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, kw_only=True):
    """One of `tools`."""

    type: str
    function: Function | None = None


class Named(msgspec.Struct, kw_only=True):
    """A tool by its name."""

    name: str


class AllowedTool(msgspec.Struct, kw_only=True):
    """One of the allowed tools."""

    type: Literal["function"]
    function: Named


class AllowedTools(msgspec.Struct, kw_only=True):
    """The tools that may be called, of those that are there."""

    mode: Literal["auto", "required"]
    tools: list[AllowedTool]


class ToolChoice(msgspec.Struct, kw_only=True):
    """`tool_choice` where it is an object."""

    type: str
    function: Named | None = None
    allowed_tools: AllowedTools | None = None


class ToolFields(msgspec.Struct, kw_only=True):
    """The fields of a request that are about tools."""

    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools that the model is told of, as chat templates read them, and how it may call them.

    Attributes:
        tools: all of them.
        callable_names: those that may be called.
        has_parallel_calls: several may be called at once.
        forced_by: the field that leaves the model no other answer than a call; None if it may answer with text.
        is_named: that field names the one tool to call.
    """

    tools: tuple[Mapping[str, Any], ...]
    callable_names: tuple[str, ...]
    has_parallel_calls: bool
    forced_by: str | None = None
    is_named: bool = False

    def markup(self) -> Markup:
        """What is told apart in the answer, reasoning always."""
        return Markup(
            tool_names=self.callable_names,
            has_parallel_calls=self.has_parallel_calls and self.forced_by is None,
            has_reasoning=True,
            is_forced_call=self.forced_by is not None,
        )

    def constrain(self, sampling: Sampling) -> Sampling:
        """How tokens are drawn so that a call is made, where it must be.

        Raises:
            InvalidParameter: the output must have another form already, or schemas are nested too deep.
        """
        if self.forced_by is None:
            return sampling
        if sampling.grammar is not None:
            raise InvalidParameter(
                self.forced_by,
                f"`{self.forced_by}` forces a call, which cannot have the form of `{sampling.grammar.name}`.",
            )
        return replace(sampling, grammar=self._grammar(self.forced_by))

    def _grammar(self, name: str) -> Grammar:
        """One call, with arguments of the tool's schema; references within schemas follow them to their new place."""
        functions = [tool["function"] for tool in self.tools if tool["function"]["name"] in self.callable_names]
        calls, schemas = [], {}
        for index, function in enumerate(functions):
            place = f"#/$defs/{index}"
            schemas[str(index)] = _moved(function.get("parameters") or {"type": "object"}, place)
            fields = {"name": {"const": function["name"]}, "arguments": {"$ref": place}}
            calls.append(
                {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
            )
        schema = wire.encode_json({"anyOf": calls, "$defs": schemas}).decode()
        return Grammar(GrammarKind.JSON_SCHEMA, schema, name, whitespace=" ?")


def decode_tools(body: dict[str, Any]) -> Toolbox:
    """The tools in a request's body that may be called.

    Raises:
        UnsupportedParameter: a kind of tool, or a choice, that this server does not have.
        InvalidParameter: no tools in the list, a wrong name, or a choice among tools that are not there.
    """
    fields = wire.convert(body, ToolFields)
    has_parallel_calls = wire.or_default(fields.parallel_tool_calls, True)
    if fields.tools is None:
        if fields.tool_choice not in (None, "none", "auto"):
            raise InvalidParameter("tool_choice", "`tool_choice` needs `tools`.")
        return Toolbox((), (), has_parallel_calls)
    tools = tuple(fields.tools)
    if not 1 <= len(tools) <= _MAX_TOOLS:
        raise InvalidParameter("tools", f"`tools` must have 1 to {_MAX_TOOLS} tools, got {len(tools)}.")
    for index, tool in enumerate(tools):
        check_tool(tool, f"tools[{index}]")
    names = tuple(tool["function"]["name"] for tool in tools)
    if len(set(names)) < len(names):
        raise InvalidParameter("tools", "The names in `tools` must be different.")
    toolbox = _choose(Toolbox(tools, names, has_parallel_calls), fields.tool_choice)
    if toolbox.forced_by is None:
        _check_not_strict(toolbox)
    return toolbox


def with_names(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation, its results of tools with the names that their calls have.

    Clients give the id of the call alone; some chat templates want the name.
    """
    names: dict[Any, Any] = {}
    found = []
    for message in messages:
        for call in message.extra.get("tool_calls", ()):
            if isinstance(function := call.get("function"), Mapping) and isinstance(call.get("id"), str):
                names[call["id"]] = function.get("name")
        name = names.get(message.extra.get("tool_call_id"))
        if message.role == "tool" and name is not None and "name" not in message.extra:
            message = replace(message, extra={**message.extra, "name": name})
        found.append(message)
    return tuple(found)


def check_tool(fields: dict[str, Any], path: str) -> None:
    """Checks one tool.

    Raises:
        UnsupportedParameter: another kind than a function.
        InvalidParameter: a wrong type or name.
    """
    tool = wire.convert(fields, Tool, path)
    if tool.type != "function":
        raise UnsupportedParameter(f"{path}.type", f"`{path}.type`: tools are functions, not {tool.type!r}.")
    if tool.function is None:
        raise wire.SchemaMismatch(f"{path}.function", f"`{path}.function` is required.", is_missing=True)
    check_name(tool.function.name, f"{path}.function.name")


def check_name(name: str, path: str) -> None:
    """Checks the name of a tool.

    Raises:
        InvalidParameter: it has other characters than letters, digits, `_`, `-` and `.`, or too many.
    """
    if not _NAME.match(name):
        raise InvalidParameter(path, f"`{path}` must be 1 to 64 letters, digits, `_`, `-` or `.`, got {name!r}.")


def _check_not_strict(toolbox: Toolbox) -> None:
    for index, tool in enumerate(toolbox.tools):
        if tool["function"].get("strict"):
            path = f"tools[{index}].function.strict"
            raise UnsupportedParameter(
                path, f"`{path}` is not supported unless `tool_choice` forces a call: only then is the schema enforced."
            )


def _choose(toolbox: Toolbox, choice: str | dict[str, Any] | None) -> Toolbox:
    """The tools, as far as the choice lets the model call them."""
    match choice:
        case None | "auto":
            return toolbox
        case "none":
            return Toolbox((), (), toolbox.has_parallel_calls)
        case "required":
            return replace(toolbox, forced_by="tool_choice")
        case str():
            raise InvalidParameter(
                "tool_choice", f"`tool_choice` must be none, auto, required or an object, got {choice!r}."
            )
    chosen = wire.convert(choice, ToolChoice, "tool_choice")
    match chosen.type:
        case "function" if chosen.function is not None:
            _require_known("tool_choice.function.name", chosen.function.name, toolbox.callable_names)
            return replace(toolbox, callable_names=(chosen.function.name,), forced_by="tool_choice", is_named=True)
        case "allowed_tools" if chosen.allowed_tools is not None:
            return _allow(toolbox, chosen.allowed_tools)
    raise UnsupportedParameter(
        "tool_choice.type",
        f"`tool_choice.type` must be function or allowed_tools with what it names, got {chosen.type!r}.",
    )


def _allow(toolbox: Toolbox, allowed: AllowedTools) -> Toolbox:
    """The model is told of the allowed tools only: so it does not call others."""
    names = tuple(dict.fromkeys(tool.function.name for tool in allowed.tools))
    if not names:
        raise InvalidParameter(
            "tool_choice.allowed_tools.tools", "`tool_choice.allowed_tools.tools` must not be empty."
        )
    for name in names:
        _require_known("tool_choice.allowed_tools.tools", name, toolbox.callable_names)
    tools = tuple(tool for tool in toolbox.tools if tool["function"]["name"] in names)
    forced_by = "tool_choice" if allowed.mode == "required" else None
    return replace(toolbox, tools=tools, callable_names=names, forced_by=forced_by)


def _require_known(path: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise InvalidParameter(path, f"`{path}`: there is no tool {name!r} in `tools`.")


def _moved(schema: Any, place: str) -> Any:
    """A schema that stands at `place` now, so that its references to itself lead there."""
    if isinstance(schema, list):
        return [_moved(each, place) for each in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(value, place) for key, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = place + reference[1:]
    return moved
