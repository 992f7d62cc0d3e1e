"""Calls of Functionary models, and of others made of Llama 3.1: `<function=name>{...}</function>`.

Source: the chat template of meetkai/functionary-medium-v3.1.
"""

from __future__ import annotations

from portico.text.tool_parsers.format import CallFormat, Reading, Tools, read_arguments
from portico.text.tool_parsers.keyed import read_key
from portico.text.tool_parsers.source import NotACall, Source

# Other models write XML between tags that begin alike.
_OTHERS = ("<tool_call>", "<parameter=")


def _read(source: Source, tools: Tools) -> Reading:
    name = yield from read_key(source, ">")
    yield from source.blank()
    if not name or not (yield from source.some()).startswith("{"):
        raise NotACall
    yield from read_arguments(source, name)
    yield from source.close("</function>")


def _is_taught_by(template: str) -> bool:
    return "<function=" in template and not any(each in template for each in _OTHERS)


FUNCTIONARY = CallFormat(
    opener="<function=",
    markers=("<function=", "</function>"),
    read=_read,
    is_taught_by=_is_taught_by,
)
