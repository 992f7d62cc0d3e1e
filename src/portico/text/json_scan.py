"""Where a JSON value ends in text that comes piece by piece."""

from __future__ import annotations

import re

_OUTSIDE = re.compile(r'[{}\[\]"]')
_INSIDE = re.compile(r'["\\]')


class JsonScanner:
    """Follows one object or array; every character is looked at once, however small the pieces are.

    Brackets and strings alone are followed: whether the value is JSON at all is for its reader to find out.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._is_inside_string = False
        self._is_escaped = False
        self.is_over = False

    def feed(self, text: str) -> int | None:
        """The place in this piece behind the value's last bracket; None while the value goes on."""
        position = 1 if self._is_escaped and text else 0
        self._is_escaped = self._is_escaped and not text
        while mark := (_INSIDE if self._is_inside_string else _OUTSIDE).search(text, position):
            position = mark.end()
            match mark[0]:
                case '"':
                    self._is_inside_string = not self._is_inside_string
                case "\\":
                    self._is_escaped = position == len(text)
                    position += 1
                case "{" | "[":
                    self._depth += 1
                case _:
                    self._depth -= 1
                    if self._depth <= 0:
                        self.is_over = True
                        return position
        return None
