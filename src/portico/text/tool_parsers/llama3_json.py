"""Calls of Llama 3 models: the whole text is `{"name": ..., "parameters": {...}}`, several with `;` between them.

There is no markup that is always there, so an object counts as a call only if it names a tool of the request.

Source: the chat templates of meta-llama/Llama-3.1-8B-Instruct and Llama-3.2-3B-Instruct.
"""

from __future__ import annotations

from portico.text.tool_parsers.format import CallFormat, Reading, Tools, read_object
from portico.text.tool_parsers.source import NotACall, Source

_LESSON = '"parameters": dictionary of argument name'


def _read(source: Source, tools: Tools) -> Reading:
    yield from source.blank()
    if not (yield from source.some()).startswith("{"):
        raise NotACall
    yield from read_object(source, tools.__contains__)
    yield from source.close(";")


def _is_taught_by(template: str) -> bool:
    return _LESSON in template


LLAMA3_JSON = CallFormat(
    opener="<|python_tag|>",
    markers=("<|python_tag|>",),
    read=_read,
    is_taught_by=_is_taught_by,
    bare="{",
)
