"""Calls of Mistral models: `[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]`.

Later models write `[TOOL_CALLS]name[ARGS]{...}`, once per call, some with `[CALL_ID]` and an id before `[ARGS]`.

Source: the chat templates of mistralai/Mistral-7B-Instruct-v0.3 and Mistral-Small-3.2-24B-Instruct-2506, and the
control tokens of mistral-common's tokenizers.
"""

from __future__ import annotations

import re

from portico.text.tool_parsers.format import CallFormat, Reading, Tools, read_arguments, read_list
from portico.text.tool_parsers.source import NotACall, Source, Waiting

_MAX_HEAD = 256
_HEAD = re.compile(r"\s*(?P<name>[\w.-]+)\s*(\[CALL_ID\]\s*\w+\s*)?(\[ARGS\]\s*)?")
_COULD_BE_HEAD = re.compile(r"\s*[\w.-]*\s*(\[[A-Z_]*\]?\s*\w*\s*){0,2}")


def _read(source: Source, tools: Tools) -> Reading:
    yield from source.blank()
    if (yield from source.some()).startswith("["):
        yield from read_list(source)
    else:
        name = yield from _read_name(source)
        yield from read_arguments(source, name)
    yield from source.close()


def _read_name(source: Source) -> Waiting[str]:
    while True:
        text = yield from source.some()
        head, brace, _ = text.partition("{")
        if len(head) > _MAX_HEAD or not _COULD_BE_HEAD.fullmatch(head):
            raise NotACall
        if brace:
            break
        yield from source.more()
    named = _HEAD.fullmatch(source.take(len(head)))
    if named is None:
        raise NotACall
    return named["name"]


def _is_taught_by(template: str) -> bool:
    return "[TOOL_CALLS]" in template


MISTRAL = CallFormat(
    opener="[TOOL_CALLS]",
    markers=("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
    read=_read,
    is_taught_by=_is_taught_by,
)
