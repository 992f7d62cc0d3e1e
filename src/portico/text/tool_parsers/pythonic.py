"""Calls of Llama 4 models, and of Llama 3.2 ones that are taught so: `[name(key="value", other=1), ...]`.

There is no markup that is always there, so such a list counts as calls only as far as it names tools of the request.
Arguments come one by one, each when it is whole.

Source: "Zero shot function calling" in meta-llama/llama-models, prompt_format.md of Llama 3.2 and 4.
"""

from __future__ import annotations

import ast
import json
import re

from portico.text.tool_parsers.format import (
    ArgumentsPiece,
    CallBegun,
    CallEnded,
    CallFormat,
    Reading,
    Tools,
    parse_json,
)
from portico.text.tool_parsers.source import NotACall, Source, Waiting

_WORD = re.compile(r"[\w.-]+")
_MAX_WORD = 128
_OUTSIDE = re.compile(r"""[\[\](){}"',]""")
_INSIDE = {'"': re.compile(r'["\\]'), "'": re.compile(r"['\\]")}
_LESSON = "func_name1("


def _read(source: Source, tools: Tools) -> Reading:
    yield from source.require("[")
    while True:
        yield from source.blank()
        name = yield from _read_word(source, "(")
        if name not in tools:
            raise NotACall
        source.release()
        yield CallBegun(name)
        yield from _read_arguments(source)
        yield CallEnded()
        yield from source.blank()
        if (yield from source.has("]")):
            break
        yield from source.require(",")
    yield from source.close("<|python_end|>")


def _read_arguments(source: Source) -> Reading:
    separator = "{"
    while True:
        yield from source.blank()
        if (yield from source.has(")")):
            break
        key = yield from _read_word(source, "=")
        value = yield from _read_value(source)
        yield ArgumentsPiece(f"{separator}{json.dumps(key, ensure_ascii=False)}: {value}")
        source.release()
        separator = ", "
        yield from source.has(",")
    yield ArgumentsPiece("{}" if separator == "{" else "}")
    source.release()


def _read_word(source: Source, mark: str) -> Waiting[str]:
    """A name, and the mark behind it."""
    while True:
        text = yield from source.some()
        word = _WORD.match(text)
        if word is None or word.end() > _MAX_WORD:
            raise NotACall
        if word.end() < len(text):
            break
        yield from source.more()
    source.take(word.end())
    yield from source.require(mark)
    return word[0]


def _read_value(source: Source) -> Waiting[str]:
    """A value, up to the comma or the bracket behind it, as JSON."""
    pieces: list[str] = []
    scanner = _LiteralScanner()
    while not scanner.is_over:
        text = yield from source.some()
        end = scanner.feed(text)
        pieces.append(source.take(end))
    return _as_json("".join(pieces).strip())


class _LiteralScanner:
    """Follows one argument; every character is looked at once, however small the pieces are."""

    def __init__(self) -> None:
        self.is_over = False
        self._depth = 0
        self._quote = ""
        self._is_escaped = False

    def feed(self, text: str) -> int:
        """How many characters of this piece are the argument's."""
        position = 1 if self._is_escaped else 0
        self._is_escaped = False
        while mark := (_INSIDE[self._quote] if self._quote else _OUTSIDE).search(text, position):
            position = mark.end()
            character = mark[0]
            if self._quote:
                if character == "\\":
                    self._is_escaped = position == len(text)
                    position += 1
                else:
                    self._quote = ""
            elif character in "\"'":
                self._quote = character
            elif character in "[({":
                self._depth += 1
            elif self._depth == 0:
                self.is_over = True
                return mark.start()
            elif character != ",":
                self._depth -= 1
        return len(text)


def _as_json(text: str) -> str:
    """A Python literal, or the JSON that models write instead.

    Raises:
        NotACall: it is neither.
    """
    try:
        value = ast.literal_eval(text)
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        value = parse_json(text)
        if value is None and text != "null":
            raise NotACall from None
        return json.dumps(value, ensure_ascii=False)


def _is_taught_by(template: str) -> bool:
    return _LESSON in template


PYTHONIC = CallFormat(
    opener="<|python_start|>",
    markers=("<|python_start|>", "<|python_end|>"),
    read=_read,
    is_taught_by=_is_taught_by,
    bare="[",
)
