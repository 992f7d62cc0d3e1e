"""Calls of Hermes and Qwen models: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, one after another.

Source: the chat templates of NousResearch/Hermes-2-Pro-Llama-3-8B and Qwen/Qwen2.5-7B-Instruct.
"""

from __future__ import annotations

from portico.text.tool_parsers.format import CallFormat, Reading, Tools, read_object
from portico.text.tool_parsers.source import NotACall, Source

# Other models write XML or their own keys between the same tags.
_OTHERS = ("<function=", "<arg_key>")


def _read(source: Source, tools: Tools) -> Reading:
    yield from source.blank()
    if not (yield from source.some()).startswith("{"):
        raise NotACall
    yield from read_object(source)
    yield from source.close("</tool_call>")


def _is_taught_by(template: str) -> bool:
    return "<tool_call>" in template and not any(each in template for each in _OTHERS)


HERMES = CallFormat(
    opener="<tool_call>",
    markers=("<tool_call>", "</tool_call>"),
    read=_read,
    is_taught_by=_is_taught_by,
)
