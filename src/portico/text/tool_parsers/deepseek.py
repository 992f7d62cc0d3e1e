"""Calls of DeepSeek models, each between marks, and all of them between two more.

V3 and R1 write `function<sep>name`, a line feed, and the arguments in a block of Markdown; V3.1 writes
`name<sep>{...}`.

Source: the chat templates of deepseek-ai/DeepSeek-V3-0324, DeepSeek-R1-0528 and DeepSeek-V3.1.
"""

from __future__ import annotations

from portico.text.tool_parsers.format import CallFormat, Reading, Tools, read_arguments
from portico.text.tool_parsers.source import MAX_HEAD, NotACall, Source

_ALL_BEGIN, _ALL_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_BEGIN, _END = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"
_SEPARATOR = "<｜tool▁sep｜>"
_FENCE = "```"


def _read(source: Source, tools: Tools) -> Reading:
    yield from source.require(_BEGIN)
    while True:
        name = (yield from source.until(_SEPARATOR, MAX_HEAD)).strip()
        if name == "function" and "function" not in tools:
            name = (yield from source.until("\n", MAX_HEAD)).strip()
            yield from source.require(f"{_FENCE}json")
        yield from source.blank()
        if not name or not (yield from source.some()).startswith("{"):
            raise NotACall
        yield from read_arguments(source, name)
        yield from source.close(_FENCE)
        yield from source.close(_END)
        yield from source.close(_ALL_END)
        yield from source.blank()
        if not (yield from source.has(_BEGIN)):
            return


def _is_taught_by(template: str) -> bool:
    return _ALL_BEGIN in template


DEEPSEEK = CallFormat(
    opener=_ALL_BEGIN,
    markers=(_ALL_BEGIN, _ALL_END, _BEGIN, _END, _SEPARATOR),
    read=_read,
    is_taught_by=_is_taught_by,
)
