"""Arguments that a model writes one by one, as keys and values in markup, as the JSON object that they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from portico.text.tool_parsers.format import ArgumentsPiece, CallEnded, Reading, parse_json
from portico.text.tool_parsers.source import Source, Waiting


class KeyedArguments:
    """Writes the object. A value of the type string comes in pieces, any other one when it is whole.

    `schema` is that of the tool's parameters: markup does not tell a number from its digits.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        properties = schema.get("properties")
        self._properties: Mapping[str, Any] = properties if isinstance(properties, dict) else {}
        self._separator = "{"

    def read(self, source: Source, key: str, mark: str, *, is_on_lines: bool = False) -> Reading:
        """A value, up to a mark; with `is_on_lines` a line feed before it and one behind it are the markup's."""
        yield ArgumentsPiece(f"{self._separator}{json.dumps(key, ensure_ascii=False)}: ")
        self._separator = ", "
        source.release()
        if is_on_lines:
            yield from source.has("\n")
        if self._is_string(key):
            yield from _read_string(source, mark, is_on_lines)
        else:
            text = yield from source.until(mark)
            yield ArgumentsPiece(json.dumps(_value(text.strip()), ensure_ascii=False))
        source.release()

    def end(self, source: Source) -> Reading:
        """The end of the object and of the call."""
        yield ArgumentsPiece("{}" if self._separator == "{" else "}")
        source.release()
        yield CallEnded()

    def _is_string(self, key: str) -> bool:
        schema = self._properties.get(key)
        if not isinstance(schema, dict):
            return True
        kind = schema.get("type")
        if kind is None:
            kind = ["string"] if all(isinstance(each, str) for each in schema.get("enum", [None])) else []
        return kind == "string" or (isinstance(kind, list) and "string" in kind)


def read_key(source: Source, mark: str) -> Waiting[str]:
    """What stands before a mark, without the white space around it."""
    return (yield from source.until(mark, max_length=256)).strip()


def _read_string(source: Source, mark: str, is_on_lines: bool) -> Reading:
    yield ArgumentsPiece('"')
    held = ""
    for piece in source.pieces_until(mark):
        if piece is None:
            yield None
            continue
        text = held + piece
        held = "\n" if is_on_lines and text.endswith("\n") else ""
        yield ArgumentsPiece(json.dumps(text[: len(text) - len(held)], ensure_ascii=False)[1:-1])
        source.release()
    yield ArgumentsPiece('"')


def _value(text: str) -> Any:
    """A value that is no string: JSON, or Python's words for its constants; the text itself where it is neither."""
    if text.lower() in ("null", "none"):
        return None
    value = parse_json(text if text[:1] in '{["' else text.lower())
    return text if value is None else value
