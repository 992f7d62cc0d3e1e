"""Calls of Mistral models: `[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]`.

Later models write `[TOOL_CALLS]name[ARGS]{...}`, once per call, some with `[CALL_ID]` and an id before `[ARGS]`.

Source: the chat templates of mistralai/Mistral-7B-Instruct-v0.3 and Mistral-Small-3.2-24B-Instruct-2506, and the
control tokens of mistral-common's tokenizers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from portico.text.tool_parsers.format import CallFormat, ParsedCall, parse_json, read_calls

_HEAD = re.compile(r"\s*(?P<name>[\w.-]+)\s*(\[CALL_ID\]\s*\w+\s*)?(\[ARGS\]\s*)?")
_COULD_BE_HEAD = re.compile(r"\s*[\w.-]*\s*(\[[A-Z_]*\]?\s*\w*\s*){0,2}")


def _could_be_head(text: str) -> bool:
    return _COULD_BE_HEAD.fullmatch(text) is not None


def _read(head: str, value: str, tool_names: Sequence[str]) -> list[ParsedCall] | None:
    content = parse_json(value)
    if not head.strip():
        return read_calls(content if isinstance(content, list) else [content])
    named = _HEAD.fullmatch(head)
    return read_calls([{"name": named["name"], "arguments": content}]) if named else None


def _is_taught_by(template: str) -> bool:
    return "[TOOL_CALLS]" in template


MISTRAL = CallFormat(
    opener="[TOOL_CALLS]",
    closer="",
    markers=("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
    could_be_head=_could_be_head,
    read=_read,
    is_taught_by=_is_taught_by,
)
