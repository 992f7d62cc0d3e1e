"""Calls in a stream of text, whatever their format.

Nothing that could be markup is shown before it is known to be text, and nothing that is no call after all is lost: it
is text then. Once the name of a call is told, what follows is its arguments. Every character is looked at a bounded
number of times.
"""

from __future__ import annotations

from portico.text.stop import overlap
from portico.text.tool_parsers.format import CallEnded, CallFormat, CallPart, Reading, Tools
from portico.text.tool_parsers.source import EndOfText, NotACall, Source

_MAX_BLANK = 256
# What is left of a piece is copied behind each opener.
_MAX_PIECE = 4096

Part = str | CallPart


class CallReader:
    """Splits text into text and calls; white space next to a call belongs to neither."""

    def __init__(self, call_format: CallFormat, tools: Tools) -> None:
        self._format = call_format
        self._tools = tools
        self._is_at_edge = True
        self._has_calls = False
        self._is_open = False
        self._held = ""
        self._opener = ""
        self._source = Source()
        self._reading: Reading | None = None

    def feed(self, text: str) -> list[Part]:
        """What can be told of new text."""
        parts: list[Part] = []
        for start in range(0, len(text), _MAX_PIECE):
            rest = text[start : start + _MAX_PIECE]
            while rest:
                rest = self._read_text(rest, parts) if self._reading is None else self._read_call(rest, parts)
        return parts

    def flush(self) -> list[Part]:
        """What was held back, when no more text comes; a call that has not been begun is text."""
        parts: list[Part] = []
        self._source.is_over = True
        rest = self._read_call("", parts) if self._reading is not None else ""
        while rest:
            # What is left behind a call, or is none.
            rest = self._read_text(rest, parts)
            if self._reading is not None:
                self._source.is_over = True
                rest = self._read_call(rest, parts)
        held, self._held = self._held, ""
        if held and not (self._has_calls and not held.strip()):
            parts.append(held)
        return parts

    def _read_text(self, text: str, parts: list[Part]) -> str:
        """Looks for the opener; gives what stands behind it."""
        window, self._held = self._held + text, ""
        opener, bare = self._format.opener, self._format.bare
        if self._is_at_edge:
            stripped = window.lstrip()
            blank = window[: len(window) - len(stripped)]
            if bare is not None and stripped.startswith(bare):
                return self._begin(blank, stripped)
            if stripped.startswith(opener):
                return self._begin(blank + opener, stripped[len(opener) :])
            if opener.startswith(stripped) and len(window) <= _MAX_BLANK:
                self._held = window
                return ""
            self._is_at_edge = False
        before, found, behind = window.partition(opener)
        if found:
            if before:
                parts.append(before)
            return self._begin(opener, behind)
        length = overlap(window, opener)
        self._held = window[len(window) - length :]
        if length < len(window):
            parts.append(window[: len(window) - length])
        return ""

    def _begin(self, opener: str, behind: str) -> str:
        self._opener = opener
        self._source = Source()
        self._reading = self._format.read(self._source, self._tools)
        return behind

    def _read_call(self, text: str, parts: list[Part]) -> str:
        """Reads calls; gives what stands behind them, or behind what is none."""
        assert self._reading is not None, "a call was begun"
        self._source.feed(text)
        try:
            for part in self._reading:
                if part is None:
                    return ""
                parts.append(part)
                self._opener = ""
                self._has_calls = True
                self._is_open = not isinstance(part, CallEnded)
        except EndOfText:
            # What is left of a call that is cut is not text.
            if self._is_open:
                self._source = Source()
            self._give_up(parts)
        except NotACall:
            self._give_up(parts)
        else:
            self._is_at_edge = True
        self._reading = None
        self._is_open = False
        return self._source.rest()

    def _give_up(self, parts: list[Part]) -> None:
        """What was taken for markup is text."""
        held = self._opener + self._source.held()
        if held.strip() or (held and not self._has_calls):
            parts.append(held)
        self._is_at_edge = False
