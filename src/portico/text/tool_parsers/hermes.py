"""Calls of Hermes and Qwen models: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, one after another.

Source: the chat templates of NousResearch/Hermes-2-Pro-Llama-3-8B and Qwen/Qwen2.5-7B-Instruct.
"""

from __future__ import annotations

from collections.abc import Sequence

from portico.text.tool_parsers.format import CallFormat, ParsedCall, is_blank, parse_json, read_calls

# Other models write XML or their own keys between the same tags.
_OTHERS = ("<function=", "<arg_key>")


def _read(head: str, value: str, tool_names: Sequence[str]) -> list[ParsedCall] | None:
    return read_calls([parse_json(value)])


def _is_taught_by(template: str) -> bool:
    return "<tool_call>" in template and not any(each in template for each in _OTHERS)


HERMES = CallFormat(
    opener="<tool_call>",
    closer="</tool_call>",
    markers=("<tool_call>", "</tool_call>"),
    could_be_head=is_blank,
    read=_read,
    is_taught_by=_is_taught_by,
)
