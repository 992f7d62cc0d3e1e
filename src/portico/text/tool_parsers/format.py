"""What a format of tool calls is, what readers of it give, and the JSON that calls are made of in most of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from portico.text.json_scan import JsonScanner
from portico.text.tool_parsers.source import MAX_HEAD, NotACall, Source

# The tools of a request by their names, with the JSON schemas of their parameters.
Tools = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A call of a tool begins."""

    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsPiece:
    """More of the arguments of the call that was begun last: a piece of a JSON object as text."""

    text: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call that was begun last is whole."""


CallPart = CallBegun | ArgumentsPiece | CallEnded
# None is where a reader needs more text than there is.
Reading = Generator[CallPart | None, None, None]


@dataclass(frozen=True, slots=True)
class CallFormat:
    """How a model writes calls.

    Attributes:
        opener: what calls begin with.
        markers: what may be control tokens, which must then be read although readers of text do not see them.
        read: reads what stands behind an opener: one call or several.
        is_taught_by: whether a chat template is for models that write so.
        bare: at the beginning of a text, or behind a call, one that begins so needs no opener.
    """

    opener: str
    markers: tuple[str, ...]
    read: Callable[[Source, Tools], Reading]
    is_taught_by: Callable[[str], bool]
    bare: str | None = None


# The beginning of a call up to its arguments, as models write it; with other keys before them it is read as a whole.
_OBJECT_HEAD = re.compile(
    r'\{\s*(?:"(?:type|id)"\s*:\s*"[^"\\]*"\s*,\s*)*'
    r'"name"\s*:\s*"(?P<name>[^"\\]+)"\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
)


def read_object(source: Source, is_callable: Callable[[str], bool] = bool) -> Reading:
    """A call in an object with `name` and `arguments` (or `parameters`), which comes next.

    `is_callable` tells a name of which the call is one from others.

    Raises:
        NotACall: it is none.
    """
    seen = ""
    scanner, arguments = JsonScanner(), None
    for piece in source.json_pieces(scanner):
        if piece is None:
            yield None
            continue
        if arguments is None:
            could_begin = len(seen) <= MAX_HEAD
            seen += piece
            head = _OBJECT_HEAD.match(seen) if could_begin else None
            if head is None or head.end() > MAX_HEAD or not is_callable(head["name"]):
                continue
            yield from _begin(source, head["name"])
            arguments = JsonScanner()
            piece = seen[head.end() :]
        if not arguments.is_over:
            yield ArgumentsPiece(piece[: arguments.feed(piece)])
        source.release()
    if arguments is None:
        name, content = _read_whole(seen)
        if not is_callable(name):
            raise NotACall
        yield from _begin(source, name)
        yield ArgumentsPiece(content)
    source.release()
    yield CallEnded()


def read_list(source: Source) -> Reading:
    """Calls in objects, in a list that comes next.

    Raises:
        NotACall: it is none, or an object is none.
    """
    yield from source.require("[")
    while True:
        yield from source.blank()
        if not (yield from source.some()).startswith("{"):
            raise NotACall
        yield from read_object(source)
        yield from source.blank()
        if (yield from source.has("]")):
            return
        yield from source.require(",")


def read_arguments(source: Source, name: str) -> Reading:
    """A call of which the name is known and the arguments, an object, come next."""
    yield from _begin(source, name)
    for piece in source.json_pieces(JsonScanner()):
        yield None if piece is None else ArgumentsPiece(piece)
        source.release()
    yield CallEnded()


def _begin(source: Source, name: str) -> Reading:
    source.release()
    yield CallBegun(name)


def _read_whole(text: str) -> tuple[str, str]:
    """The name and the arguments of a call that is whole.

    Raises:
        NotACall: it is none.
    """
    value = parse_json(text)
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(name, str) or not name:
        raise NotACall
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        # Some models write the arguments as they stand in earlier turns: JSON in a string.
        arguments = parse_json(arguments)
    if not isinstance(arguments, dict):
        raise NotACall
    return name, json.dumps(arguments, ensure_ascii=False)


def parse_json(text: str) -> Any:
    """The value of a JSON text; None also where it is no JSON, or nested too deep."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
