"""What a model's text holds beside the answer: reasoning before it, and calls of tools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from portico.core.request import Markup
from portico.text import reasoning
from portico.text.reasoning import Reasoning, ReasoningReader
from portico.text.tool_parsers import FORMATS, detect_format
from portico.text.tool_parsers.format import CallFormat, ParsedCall
from portico.text.tool_parsers.reader import CallReader

AnswerPart = str | Reasoning | ParsedCall


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """How the served model writes; None or false where it has no such thing, or the operator wants it as text."""

    calls: CallFormat | None
    has_reasoning: bool

    @classmethod
    def choose(cls, tool_call_parser: str, reasoning_parser: str, template: str) -> AnswerFormat:
        """The format by the names that the operator gave; `auto` finds it in the source of the chat template."""
        calls = detect_format(template) if tool_call_parser == "auto" else FORMATS.get(tool_call_parser)
        is_taught = reasoning.CLOSER in template
        return cls(calls, reasoning_parser == "think" or (reasoning_parser == "auto" and is_taught))

    def reader(self, markup: Markup, read_prompt_end: Callable[[], str]) -> AnswerReader | None:
        """A reader of one choice, as far as the request wants anything told apart; None if all is text.

        The end of the prompt is read where it matters.
        """
        tells_calls = self.calls is not None and bool(markup.tool_names)
        tells_reasoning = self.has_reasoning and markup.has_reasoning
        if not tells_calls and not tells_reasoning:
            return None
        return AnswerReader(
            ReasoningReader(reasoning.ends_inside(read_prompt_end())) if tells_reasoning else None,
            CallReader(self.calls, markup.tool_names) if self.calls is not None and tells_calls else None,
        )

    def markers(self, markup: Markup) -> tuple[str, ...]:
        """What must be read although it may be control tokens."""
        calls = self.calls.markers if self.calls is not None and markup.tool_names else ()
        return (*calls, reasoning.OPENER, reasoning.CLOSER) if self.has_reasoning and markup.has_reasoning else calls


PLAIN = AnswerFormat(calls=None, has_reasoning=False)


class AnswerReader:
    """Tells the parts of one choice apart: first its reasoning, then text and calls."""

    def __init__(self, reasoning_reader: ReasoningReader | None, calls: CallReader | None) -> None:
        self._reasoning = reasoning_reader
        self._calls = calls

    @property
    def is_reasoning(self) -> bool:
        """Whether what comes next is reasoning, as far as is known."""
        return self._reasoning is not None and self._reasoning.is_inside

    def feed(self, text: str) -> list[AnswerPart]:
        """What can be told of new text."""
        return self._read_calls([text] if self._reasoning is None else self._reasoning.feed(text))

    def flush(self) -> list[AnswerPart]:
        """What was held back, when no more text comes."""
        parts = self._read_calls([] if self._reasoning is None else self._reasoning.flush())
        return parts if self._calls is None else [*parts, *self._calls.flush()]

    def _read_calls(self, parts: list[str] | list[str | Reasoning]) -> list[AnswerPart]:
        if self._calls is None:
            return list(parts)
        found: list[AnswerPart] = []
        for part in parts:
            found += [part] if isinstance(part, Reasoning) else self._calls.feed(part)
        return found
