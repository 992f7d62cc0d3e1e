"""Calls of GLM-4.5 models: `<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>`.

Source: the chat template of zai-org/GLM-4.5.
"""

from __future__ import annotations

import re

from portico.text.tool_parsers.format import CallBegun, CallFormat, Reading, Tools
from portico.text.tool_parsers.keyed import KeyedArguments, read_key
from portico.text.tool_parsers.source import NotACall, Source, Waiting

_NAME = re.compile(r"\s*([\w.-]{1,64})\s*")
_MAX_HEAD = 128


def _read(source: Source, tools: Tools) -> Reading:
    name = yield from _read_name(source)
    source.release()
    yield CallBegun(name)
    arguments = KeyedArguments(tools.get(name, {}))
    while True:
        yield from source.blank()
        if not (yield from source.has("<arg_key>")):
            break
        key = yield from read_key(source, "</arg_key>")
        yield from source.require("<arg_value>")
        yield from arguments.read(source, key, "</arg_value>")
    yield from source.has("</tool_call>")
    yield from arguments.end(source)
    yield from source.close()


def _read_name(source: Source) -> Waiting[str]:
    """The name, up to the markup behind it."""
    while True:
        text = yield from source.some()
        head, found, _ = text.partition("<")
        if len(head) > _MAX_HEAD:
            raise NotACall
        if found:
            break
        yield from source.more()
    while True:
        text = yield from source.some()
        behind = text[len(head) :]
        if behind.startswith(("<arg_key>", "</tool_call>")):
            break
        if not any(each.startswith(behind) for each in ("<arg_key>", "</tool_call>")):
            raise NotACall
        yield from source.more()
    named = _NAME.fullmatch(source.take(len(head)))
    if named is None:
        raise NotACall
    return named[1]


def _is_taught_by(template: str) -> bool:
    return "<tool_call>" in template and "<arg_key>" in template


GLM45 = CallFormat(
    opener="<tool_call>",
    markers=("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    read=_read,
    is_taught_by=_is_taught_by,
)
