"""Calls as a JSON list, `[{"name": ..., "arguments": {...}}, ...]`, between the marks of each model.

Source: the chat templates of ibm-granite/granite-3.3-2b-instruct, ServiceNow-AI/Apriel-1.6-15b-Thinker,
nvidia/NVIDIA-Nemotron-Nano-9B-v2 and fireworks-ai/llama-3-firefunction-v2, and vLLM's phi4_mini_json.
"""

from __future__ import annotations

from portico.text.tool_parsers.format import CallFormat, Reading, Tools, read_list
from portico.text.tool_parsers.source import Source


def _between(opener: str, *closers: str, lesson: str | None = None) -> CallFormat:
    """A format that is taught by its opener, or by another text of the template."""

    def read(source: Source, tools: Tools) -> Reading:
        yield from read_list(source)
        yield from source.close(*closers)

    def is_taught_by(template: str) -> bool:
        return (lesson or opener) in template

    return CallFormat(opener=opener, markers=(opener, *closers), read=read, is_taught_by=is_taught_by)


GRANITE = _between("<|tool_call|>", "<|/tool_call|>")
APRIEL = _between("<tool_calls>", "</tool_calls>", lesson="<tool_calls>[")
NEMOTRON = _between("<TOOLCALL>", "</TOOLCALL>")
PHI4_MINI = _between("functools", lesson="functools[")
