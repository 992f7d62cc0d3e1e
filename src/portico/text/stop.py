"""Stop strings in a stream of text."""

from __future__ import annotations


class StopStrings:
    """Finds the first stop string to be completed and keeps it, or a beginning of one, from the reader.

    With `included` the stop string stays in the text, so nothing needs to be held back. Of several strings that
    complete with the same character the first in the list wins. With `at_piece_end` a string counts only at the end of
    a piece, or before a line feed there, and stays in the text too.
    """

    def __init__(self, strings: tuple[str, ...], included: bool, at_piece_end: bool = False) -> None:
        self._strings = strings
        self._included = included
        self._at_piece_end = at_piece_end
        self._held = ""
        self._shown = ""

    def feed(self, piece: str, is_armed: bool = True) -> tuple[str, str | None]:
        """Takes new text; gives what may be read now, and the stop string if one is complete.

        Text that comes while not armed is passed on and cannot be a part of a stop string.
        """
        if not self._strings:
            return piece, None
        if not is_armed:
            text, self._held, self._shown = self._held + piece, "", ""
            return text, None
        if self._at_piece_end:
            return piece, self._find_at_end(piece)
        window = self._shown + self._held + piece
        found = self._find(window)
        if found is not None:
            start, stop = found
            end = start + len(stop) if self._included else start
            visible = window[len(self._shown) : end]
            self._held = ""
            return visible, stop
        return self._advance(window), None

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held

    def _find_at_end(self, piece: str) -> str | None:
        if not piece:
            return None
        window = self._shown + piece
        self._shown = window[-1 - max(map(len, self._strings)) :]
        return next((stop for stop in self._strings if window.endswith((stop, stop + "\n"))), None)

    def _find(self, window: str) -> tuple[int, str] | None:
        matches = [(window.find(stop), stop) for stop in self._strings]
        complete = [(start, stop) for start, stop in matches if start >= 0]
        return min(complete, key=lambda match: match[0] + len(match[1])) if complete else None

    def _advance(self, window: str) -> str:
        """Splits the window into what may be read and the longest end that could begin a stop string."""
        length = max(overlap(window, stop) for stop in self._strings)
        if self._included:
            visible = window[len(self._shown) :]
            self._shown = window[len(window) - length :]
            return visible
        self._held = window[len(window) - length :]
        return window[: len(window) - length]


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[len(text) - length :]):
            return length
    return 0
