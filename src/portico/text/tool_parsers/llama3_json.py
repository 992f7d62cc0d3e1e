"""Calls of Llama 3 models: the whole text is `{"name": ..., "parameters": {...}}`, several with `;` between them.

There is no markup that is always there, so an object counts as a call only if it names a tool of the request.

Source: the chat templates of meta-llama/Llama-3.1-8B-Instruct and Llama-3.2-3B-Instruct.
"""

from __future__ import annotations

from collections.abc import Sequence

from portico.text.tool_parsers.format import CallFormat, ParsedCall, is_blank, parse_json, read_calls

_LESSON = '"parameters": dictionary of argument name'


def _read(head: str, value: str, tool_names: Sequence[str]) -> list[ParsedCall] | None:
    calls = read_calls([parse_json(value)])
    return calls if calls and calls[0].name in tool_names else None


def _is_taught_by(template: str) -> bool:
    return _LESSON in template


LLAMA3_JSON = CallFormat(
    opener="<|python_tag|>",
    closer=";",
    markers=("<|python_tag|>",),
    could_be_head=is_blank,
    read=_read,
    is_taught_by=_is_taught_by,
    is_bare=True,
)
