"""Calls in a stream of text, whatever their format.

Nothing that could be markup is shown before it is known to be text, and nothing that is no call after all is lost: it
is text then. Every character is looked at a bounded number of times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from portico.text.json_scan import JsonScanner
from portico.text.stop import overlap
from portico.text.tool_parsers.format import CallFormat, ParsedCall, is_blank

# Longer markup is given up and shown as text, so that a request cannot hold back any amount of it.
MAX_MARKUP = 262_144
_MAX_HEAD = 256
_MAX_BLANK = 256

Part = str | ParsedCall


class CallReader:
    """Splits text into text and calls; white space next to a call belongs to neither."""

    def __init__(self, call_format: CallFormat, tool_names: Sequence[str]) -> None:
        self._format = call_format
        self._tool_names = tool_names
        self._state: Callable[[str, list[Part]], str] = self._read_text
        self._is_at_edge = True
        self._has_calls = False
        self._held = ""
        self._markup = ""
        self._value: list[str] = []
        self._num_characters = 0
        self._scanner = JsonScanner()

    def feed(self, text: str) -> list[Part]:
        """What can be told of new text."""
        parts: list[Part] = []
        while text:
            text = self._state(text, parts)
        return parts

    def flush(self) -> list[Part]:
        """What was held back, when no more text comes; a call without its end is text."""
        held = self._markup + self._held + "".join(self._value)
        is_dropped = self._state == self._read_closer or (self._has_calls and is_blank(held))
        self._held = self._markup = ""
        self._value = []
        return [held] if held and not is_dropped else []

    def _read_text(self, text: str, parts: list[Part]) -> str:
        """Looks for the opener; gives what stands behind it."""
        window, self._held = self._held + text, ""
        opener = self._format.opener
        if self._is_at_edge:
            stripped = window.lstrip()
            if self._format.is_bare and stripped.startswith("{"):
                return self._begin(window[: len(window) - len(stripped)], stripped, self._read_value)
            if stripped.startswith(opener):
                return self._begin(
                    window[: len(window) - len(stripped)] + opener, stripped[len(opener) :], self._read_head
                )
            if opener.startswith(stripped) and len(window) <= _MAX_BLANK:
                self._held = window
                return ""
            self._is_at_edge = False
        before, found, behind = window.partition(opener)
        if found:
            if before:
                parts.append(before)
            return self._begin(opener, behind, self._read_head)
        length = overlap(window, opener)
        self._held = window[len(window) - length :]
        if length < len(window):
            parts.append(window[: len(window) - length])
        return ""

    def _begin(self, markup: str, behind: str, state: Callable[[str, list[Part]], str]) -> str:
        self._markup = markup
        self._scanner = JsonScanner()
        self._num_characters = 0
        self._state = state
        return behind

    def _read_head(self, text: str, parts: list[Part]) -> str:
        """Looks for the bracket that begins the value; gives the value from there."""
        window, self._held = self._held + text, ""
        start = _find_value(window)
        head = window if start is None else window[:start]
        if len(head) > _MAX_HEAD or not self._format.could_be_head(head):
            self._show_markup(parts)
            return window
        if start is None:
            self._held = window
            return ""
        self._held = head
        self._state = self._read_value
        return window[start:]

    def _read_value(self, text: str, parts: list[Part]) -> str:
        """Looks for the end of the value; gives what stands behind it."""
        end = self._scanner.feed(text)
        self._value.append(text[:end])
        self._num_characters += len(self._value[-1])
        if self._num_characters > MAX_MARKUP:
            self._show_markup(parts)
            return "" if end is None else text[end:]
        if end is None:
            return ""
        calls = self._format.read(self._held, "".join(self._value), self._tool_names)
        if calls is None:
            self._show_markup(parts)
            return text[end:]
        parts.extend(calls)
        self._has_calls = True
        self._held = self._markup = ""
        self._value = []
        self._state = self._read_closer
        return text[end:]

    def _read_closer(self, text: str, parts: list[Part]) -> str:
        """Drops the closer, if there is one; gives what stands behind it."""
        window, self._held = self._held + text, ""
        stripped = window.lstrip()
        closer = self._format.closer
        if closer.startswith(stripped) and stripped != closer and len(window) <= _MAX_BLANK:
            self._held = window
            return ""
        self._state = self._read_text
        self._is_at_edge = True
        return stripped[len(closer) :] if stripped.startswith(closer) and closer else window

    def _show_markup(self, parts: list[Part]) -> None:
        """What was taken for markup is text."""
        parts.append(self._markup + self._held + "".join(self._value))
        self._held = self._markup = ""
        self._value = []
        self._is_at_edge = False
        self._state = self._read_text


def _find_value(window: str) -> int | None:
    """Where a JSON object begins, or an array before which there is nothing."""
    blank = len(window) - len(window.lstrip())
    if window.startswith("[", blank):
        return blank
    start = window.find("{")
    return None if start < 0 else start
