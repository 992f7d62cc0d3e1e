"""What a format of tool calls is, and the JSON that calls are made of in all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """A call as the model wrote it; `arguments` is a JSON object as text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class CallFormat:
    """How a model writes calls: an opener, perhaps a head, one JSON value, perhaps a closer.

    Attributes:
        opener: what calls begin with.
        closer: what may stand behind the value; empty is nothing.
        markers: what may be control tokens, which must then be read although readers of text do not see them.
        could_be_head: whether text behind the opener may still become what stands before the value.
        read: the calls that head and value are; None if they are none. Takes the names of the tools last.
        is_taught_by: whether a chat template is for models that write so.
        is_bare: a value at the beginning of a text, or behind a call, needs no opener.
    """

    opener: str
    closer: str
    markers: tuple[str, ...]
    could_be_head: Callable[[str], bool]
    read: Callable[[str, str, Sequence[str]], list[ParsedCall] | None]
    is_taught_by: Callable[[str], bool]
    is_bare: bool = False


def is_blank(text: str) -> bool:
    """Whether there is nothing but white space."""
    return not text.strip()


def parse_json(text: str) -> Any:
    """The value of a JSON text; None also where it is no JSON, or nested too deep."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def read_call(value: Any) -> ParsedCall | None:
    """The call in an object with `name` and `arguments` (or `parameters`); None if it is none."""
    if not isinstance(value, dict):
        return None
    name = value.get("name")
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        # Some models write the arguments as they stand in earlier turns: JSON in a string.
        arguments = parse_json(arguments)
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        return None
    return ParsedCall(name, json.dumps(arguments, ensure_ascii=False))


def read_calls(values: Sequence[Any]) -> list[ParsedCall] | None:
    """All calls of a list; None if one of them is none."""
    calls = [read_call(value) for value in values]
    found = [call for call in calls if call is not None]
    return found if found and len(found) == len(calls) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
