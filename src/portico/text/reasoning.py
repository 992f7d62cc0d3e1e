"""Reasoning that a model writes between marks, such as `<think>` and `</think>`, before its answer."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from portico.text.stop import overlap

# A prompt that ends with the opener has at most so many characters of white space behind it.
PROMPT_END = 64


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of reasoning, in distinction from the text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningFormat:
    """The marks that a model's reasoning stands between."""

    opener: str
    closer: str

    def ends_inside(self, prompt_end: str) -> bool:
        """Whether the template has begun the reasoning already, so that the model only ends it."""
        return prompt_end.rstrip().endswith(self.opener)


# The second are those of Mistral's reasoning models.
REASONING_FORMATS: Mapping[str, ReasoningFormat] = {
    "think": ReasoningFormat("<think>", "</think>"),
    "mistral": ReasoningFormat("[THINK]", "[/THINK]"),
}


def detect_reasoning(template: str) -> ReasoningFormat | None:
    """The marks that a chat template knows; None if it is none of these."""
    return next((each for each in REASONING_FORMATS.values() if each.closer in template), None)


class _State(enum.Enum):
    BEGINNING = enum.auto()
    INSIDE = enum.auto()
    BEHIND = enum.auto()
    ANSWER = enum.auto()


class ReasoningReader:
    """Tells reasoning from the answer behind it; line breaks next to the markup belong to neither.

    Only the beginning of a text can be reasoning: markup in the answer is the answer's. Without its end, all of it is
    reasoning.
    """

    def __init__(self, reasoning_format: ReasoningFormat, is_inside: bool) -> None:
        self._format = reasoning_format
        self._state = _State.INSIDE if is_inside else _State.BEGINNING
        self._is_blank = is_inside
        self._held = ""

    @property
    def is_inside(self) -> bool:
        """Whether what comes next is reasoning, as far as is known."""
        return self._state is _State.INSIDE

    def feed(self, text: str) -> list[str | Reasoning]:
        """What can be told of new text; a possible beginning of markup is held back."""
        if self._state is _State.ANSWER:
            return [text] if text else []
        window, self._held = self._held + text, ""
        parts: list[str | Reasoning] = []
        if self._state is _State.BEGINNING:
            window = self._begin(window)
        if self._state is _State.INSIDE:
            window = self._read(window, parts)
        if self._state is _State.BEHIND:
            window = window.lstrip()
            self._state = _State.ANSWER if window else _State.BEHIND
        if self._state is _State.ANSWER and window:
            parts.append(window)
        return parts

    def flush(self) -> list[str | Reasoning]:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        if not held:
            return []
        return [Reasoning(held) if self._state is _State.INSIDE else held]

    def _begin(self, window: str) -> str:
        stripped = window.lstrip()
        if stripped.startswith(self._format.opener):
            self._state = _State.INSIDE
            self._is_blank = True
            return stripped[len(self._format.opener) :]
        if self._format.opener.startswith(stripped) and len(window) <= PROMPT_END:
            self._held = window
            return ""
        self._state = _State.ANSWER
        return window

    def _read(self, window: str, parts: list[str | Reasoning]) -> str:
        """Takes the reasoning out of the window and gives what stands behind it."""
        if self._is_blank:
            window = window.lstrip()
            self._is_blank = not window
        before, closer, behind = window.partition(self._format.closer)
        if closer:
            self._state = _State.BEHIND
            before = before.rstrip("\n")
        else:
            # The line breaks before the end of the reasoning are the markup's.
            length = overlap(before, self._format.closer)
            length += _num_line_feeds(before[: len(before) - length])
            self._held = before[len(before) - length :]
            before = before[: len(before) - length]
        if before:
            parts.append(Reasoning(before))
        return behind


def _num_line_feeds(text: str) -> int:
    """Line feeds at the end of a text, two at most: more of them are a part of what is written."""
    return min(len(text) - len(text.rstrip("\n")), 2)
