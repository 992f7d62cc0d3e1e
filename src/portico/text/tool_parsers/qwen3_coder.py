"""Calls of Qwen3-Coder models: `<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`.

Source: the chat template of Qwen/Qwen3-Coder-30B-A3B-Instruct. What stands on lines of its own is without them.
"""

from __future__ import annotations

from portico.text.tool_parsers.format import CallBegun, CallFormat, Reading, Tools
from portico.text.tool_parsers.keyed import KeyedArguments, read_key
from portico.text.tool_parsers.source import NotACall, Source


def _read(source: Source, tools: Tools) -> Reading:
    yield from source.require("<function=")
    name = yield from read_key(source, ">")
    if not name:
        raise NotACall
    source.release()
    yield CallBegun(name)
    arguments = KeyedArguments(tools.get(name, {}))
    while True:
        yield from source.blank()
        if not (yield from source.has("<parameter=")):
            break
        key = yield from read_key(source, ">")
        yield from arguments.read(source, key, "</parameter>", is_on_lines=True)
    yield from source.has("</function>")
    yield from arguments.end(source)
    yield from source.close("</tool_call>")


def _is_taught_by(template: str) -> bool:
    return "<tool_call>" in template and "<function=" in template


QWEN3_CODER = CallFormat(
    opener="<tool_call>",
    markers=("<tool_call>", "</tool_call>"),
    read=_read,
    is_taught_by=_is_taught_by,
)
