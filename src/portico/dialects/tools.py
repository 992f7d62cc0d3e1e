"""Tools as several wires describe them, and which of them a model may call.

Source: OpenAI API reference, "Create chat completion", `tools` and `tool_choice`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from portico.core.errors import InvalidParameter, UnsupportedParameter
from portico.core.request import Markup
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

    mode: str
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
    """The tools that the model is told of, as chat templates read them, and whether it may call several at once."""

    tools: tuple[Mapping[str, Any], ...]
    has_parallel_calls: bool

    def markup(self) -> Markup:
        """What is told apart in the answer, reasoning always."""
        names = tuple(tool["function"]["name"] for tool in self.tools)
        return Markup(names, self.has_parallel_calls, has_reasoning=True)


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
        return Toolbox((), has_parallel_calls)
    if not 1 <= len(fields.tools) <= _MAX_TOOLS:
        raise InvalidParameter("tools", f"`tools` must have 1 to {_MAX_TOOLS} tools, got {len(fields.tools)}.")
    for index, tool in enumerate(fields.tools):
        check_tool(tool, f"tools[{index}]")
    names = [tool["function"]["name"] for tool in fields.tools]
    if len(set(names)) < len(names):
        raise InvalidParameter("tools", "The names in `tools` must be different.")
    allowed = _allowed_names(fields.tool_choice, names)
    return Toolbox(tuple(tool for tool in fields.tools if tool["function"]["name"] in allowed), has_parallel_calls)


def check_tool(fields: dict[str, Any], path: str) -> None:
    """Checks one tool.

    Raises:
        UnsupportedParameter: another kind than a function, or one whose arguments must be of its schema.
        InvalidParameter: a wrong type or name.
    """
    tool = wire.convert(fields, Tool, path)
    if tool.type != "function":
        raise UnsupportedParameter(f"{path}.type", f"`{path}.type`: tools are functions, not {tool.type!r}.")
    if tool.function is None:
        raise wire.SchemaMismatch(f"{path}.function", f"`{path}.function` is required.", is_missing=True)
    check_name(tool.function.name, f"{path}.function.name")
    if tool.function.strict:
        raise UnsupportedParameter(
            f"{path}.function.strict",
            f"`{path}.function.strict` is not supported: the arguments of calls are not constrained to the schema.",
        )


def check_name(name: str, path: str) -> None:
    """Checks the name of a tool.

    Raises:
        InvalidParameter: it has other characters than letters, digits, `_`, `-` and `.`, or too many.
    """
    if not _NAME.match(name):
        raise InvalidParameter(path, f"`{path}` must be 1 to 64 letters, digits, `_`, `-` or `.`, got {name!r}.")


def _allowed_names(choice: str | dict[str, Any] | None, names: Sequence[str]) -> Sequence[str]:
    """The tools that the model is told of."""
    if choice is None or choice == "auto":
        return names
    if choice == "none":
        return ()
    if choice == "required":
        raise forced("tool_choice")
    if isinstance(choice, str):
        raise InvalidParameter(
            "tool_choice", f"`tool_choice` must be none, auto, required or an object, got {choice!r}."
        )
    return _chosen_names(wire.convert(choice, ToolChoice, "tool_choice"), names)


def _chosen_names(choice: ToolChoice, names: Sequence[str]) -> Sequence[str]:
    match choice.type:
        case "function" if choice.function is not None:
            _require_known("tool_choice.function.name", choice.function.name, names)
            raise forced("tool_choice")
        case "allowed_tools" if choice.allowed_tools is not None:
            chosen = [tool.function.name for tool in choice.allowed_tools.tools]
            for name in chosen:
                _require_known("tool_choice.allowed_tools.tools", name, names)
            if choice.allowed_tools.mode != "auto":
                raise forced("tool_choice.allowed_tools.mode")
            return chosen
    raise UnsupportedParameter(
        "tool_choice.type",
        f"`tool_choice.type` must be function or allowed_tools with what it names, got {choice.type!r}.",
    )


def _require_known(path: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise InvalidParameter(path, f"`{path}`: there is no tool {name!r} in `tools`.")


def forced(path: str) -> UnsupportedParameter:
    """The refusal of a choice that leaves the model no other answer than a call."""
    return UnsupportedParameter(
        path, f"`{path}` is not supported with this value: the model cannot be forced to call a tool; use auto or none."
    )
