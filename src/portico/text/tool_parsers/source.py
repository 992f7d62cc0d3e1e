"""The text of calls as it comes, for readers that are generators: they ask for more of it by giving None."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import TypeVar

from portico.text.json_scan import JsonScanner
from portico.text.stop import overlap

# Longer markup is given up and shown as text, so that a request cannot hold back any amount of it.
MAX_MARKUP = 262_144
# What stands before the name and the arguments of a call is not longer.
MAX_HEAD = 512
_BLANK = re.compile(r"\s*")

T = TypeVar("T")
Waiting = Generator[None, None, T]


class NotACall(Exception):
    """What has been read since the last call is text."""


class EndOfText(Exception):
    """No more text comes."""


class Source:
    """What stands behind an opener, as far as it has come; what was taken is held until it is known what it is."""

    def __init__(self) -> None:
        self.is_over = False
        self._text = ""
        self._held: list[str] = []
        self._num_held = 0

    def feed(self, text: str) -> None:
        """More text."""
        self._text += text

    def release(self) -> None:
        """What was taken is a call's."""
        self._held = []
        self._num_held = 0

    def held(self) -> str:
        """What was taken and is not known to be a call's."""
        return "".join(self._held)

    def rest(self) -> str:
        """What was not taken."""
        text, self._text = self._text, ""
        return text

    def take(self, length: int) -> str:
        """So many characters of what has come.

        Raises:
            NotACall: too much is held.
        """
        taken, self._text = self._text[:length], self._text[length:]
        self._held.append(taken)
        self._num_held += len(taken)
        if self._num_held > MAX_MARKUP:
            raise NotACall
        return taken

    def more(self) -> Waiting[None]:
        """Waits for more text than there is.

        Raises:
            EndOfText: none comes.
        """
        if self.is_over:
            raise EndOfText
        yield

    def some(self) -> Waiting[str]:
        """What has come and was not taken, which is not empty."""
        while not self._text:
            yield from self.more()
        return self._text

    def blank(self) -> Waiting[None]:
        """Takes white space, up to something else."""
        while True:
            text = yield from self.some()
            length = len(text) - len(text.lstrip())
            self.take(length)
            if length < len(text):
                return

    def has(self, mark: str) -> Waiting[bool]:
        """Whether this comes next; it is taken then."""
        text = yield from self.some()
        while len(text) < len(mark) and mark.startswith(text):
            yield from self.more()
            text = self._text
        if text.startswith(mark):
            self.take(len(mark))
            return True
        return False

    def require(self, mark: str) -> Waiting[None]:
        """Takes what must come next, behind white space.

        Raises:
            NotACall: something else comes.
        """
        yield from self.blank()
        if not (yield from self.has(mark)):
            raise NotACall

    def close(self, *marks: str) -> Waiting[None]:
        """Takes what may come next, behind white space that is taken with it alone; the end of the text is as good."""
        try:
            while True:
                text = yield from self.some()
                stripped = text.lstrip()
                mark = next((each for each in marks if stripped.startswith(each)), None)
                if mark is not None:
                    self.take(len(text) - len(stripped) + len(mark))
                    break
                if not any(each.startswith(stripped) for each in marks) or len(text) > MAX_HEAD:
                    break
                yield from self.more()
        except EndOfText:
            self.take(len(self._text))
        self.release()

    def until(self, mark: str, max_length: int = MAX_MARKUP) -> Waiting[str]:
        """Takes what stands before a mark, and the mark.

        Raises:
            NotACall: the mark does not come in time.
        """
        pieces: list[str] = []
        length = 0
        while True:
            text = yield from self.some()
            before, found, _ = text.partition(mark)
            num_safe = len(before) if found else len(text) - overlap(text, mark)
            length += num_safe
            if length > max_length:
                raise NotACall
            pieces.append(self.take(num_safe))
            if found:
                self.take(len(mark))
                return "".join(pieces)
            yield from self.more()

    def pieces_until(self, mark: str) -> Generator[str | None, None, None]:
        """Gives what stands before a mark as it comes, and takes the mark; before the end of the text all of it."""
        while True:
            text = yield from self.some()
            before, found, _ = text.partition(mark)
            num_safe = len(before) if found else len(text) - (0 if self.is_over else overlap(text, mark))
            if num_safe:
                yield self.take(num_safe)
            if found:
                self.take(len(mark))
                return
            yield from self.more()

    def json_pieces(self, scanner: JsonScanner) -> Generator[str | None, None, None]:
        """Gives an object or array as it comes, up to its last bracket."""
        end = None
        while end is None:
            text = yield from self.some()
            end = scanner.feed(text)
            yield self.take(len(text) if end is None else end)
