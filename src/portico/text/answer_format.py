"""What a model's text holds beside the answer: reasoning before it, and calls of tools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from portico.core.request import Markup
from portico.text.chat_template import ChatTemplate
from portico.text.format_detection import find_call_format
from portico.text.reasoning import REASONING_FORMATS, Reasoning, ReasoningFormat, ReasoningReader, detect_reasoning
from portico.text.tool_parsers import FORMATS
from portico.text.tool_parsers.format import CallFormat, CallPart, Tools
from portico.text.tool_parsers.llama3_json import LLAMA3_JSON
from portico.text.tool_parsers.reader import CallReader

AnswerPart = str | Reasoning | CallPart


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """How the served model writes; None where it has no such thing, or the operator wants it as text."""

    calls: CallFormat | None
    reasoning: ReasoningFormat | None

    @classmethod
    def choose(cls, tool_call_parser: str, reasoning_parser: str, template: ChatTemplate | None) -> AnswerFormat:
        """The format by the names that the operator gave; `auto` finds it in the chat template."""
        calls, thoughts = FORMATS.get(tool_call_parser), REASONING_FORMATS.get(reasoning_parser)
        if template is not None:
            calls = find_call_format(template) if tool_call_parser == "auto" else calls
            thoughts = detect_reasoning(template.source) if reasoning_parser == "auto" else thoughts
        return cls(calls, thoughts)

    def describe(self) -> str:
        """The names of both formats."""
        calls = next((name for name, each in FORMATS.items() if each is self.calls), "none")
        thoughts = next((name for name, each in REASONING_FORMATS.items() if each is self.reasoning), "none")
        return f"calls of tools {calls}, reasoning {thoughts}"

    def reader(self, markup: Markup, tools: Tools, read_prompt_end: Callable[[], str]) -> AnswerReader | None:
        """A reader of one choice, as far as the request wants anything told apart; None if all is text.

        `tools` are those of the markup. The end of the prompt is read where it matters.
        """
        calls = self._find_calls(markup)
        thoughts = self.reasoning if markup.has_reasoning else None
        if calls is None and thoughts is None:
            return None
        return AnswerReader(
            None if thoughts is None else ReasoningReader(thoughts, thoughts.ends_inside(read_prompt_end())),
            None if calls is None else CallReader(calls, tools),
        )

    def can_read(self, markup: Markup) -> bool:
        """Whether the calls that a request allows can be told apart."""
        return not markup.tool_names or self._find_calls(markup) is not None

    def markers(self, markup: Markup) -> tuple[str, ...]:
        """What must be read although it may be control tokens."""
        calls = self._find_calls(markup)
        found = () if calls is None else calls.markers
        if self.reasoning is None or not markup.has_reasoning:
            return found
        return (*found, self.reasoning.opener, self.reasoning.closer)

    def _find_calls(self, markup: Markup) -> CallFormat | None:
        """A forced call is JSON without any markup, whatever the model would write by itself."""
        if not markup.tool_names:
            return None
        return LLAMA3_JSON if markup.is_forced_call else self.calls


PLAIN = AnswerFormat(calls=None, reasoning=None)


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
