"""Token ids to text, one at a time."""

from __future__ import annotations

import codecs

from portico.text.tokenizer import Tokenizer

_new_decoder = codecs.getincrementaldecoder("utf-8")


class Detokenizer:
    """Gives the text that each token adds; bytes of an unfinished character are held until it is complete.

    The pieces joined, with `flush` at the end, are the text of the whole sequence; bytes that are no UTF-8 become
    U+FFFD. `follows` is the token before the first one, when the text continues another. Control tokens that are
    `shown` are never skipped.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        skip_special_tokens: bool,
        follows: int | None = None,
        shown: frozenset[int] = frozenset(),
    ) -> None:
        self._tokenizer = tokenizer
        self._skipped = tokenizer.special_ids - shown if skip_special_tokens else frozenset()
        self._decoder = _new_decoder("replace")
        self._is_at_beginning = follows is None or follows in tokenizer.special_ids
        # Between characters, and not at a beginning: a token that is whole characters reads the same everywhere.
        self._is_between = False

    def feed(self, token_id: int) -> str:
        """The text that becomes readable with this token."""
        if self._is_between:
            text = self._tokenizer.texts.get(token_id)
            if text is not None:
                return text
        return self._decode(token_id)

    def flush(self) -> str:
        """What is left of an unfinished character, as U+FFFD."""
        return self._decoder.decode(b"", final=True)

    def _decode(self, token_id: int) -> str:
        raw = self._tokenizer.raw(token_id)
        if token_id in self._tokenizer.special_ids:
            pending = self.flush()
            self._is_at_beginning, self._is_between = True, False
            return pending if token_id in self._skipped else pending + raw.decode()
        was_between = self._is_between
        if self._is_at_beginning and raw:
            self._is_at_beginning = False
            if self._tokenizer.drops_first_space:
                raw = raw.removeprefix(b" ")
        text = self._decoder.decode(raw)
        self._is_between = not self._is_at_beginning and not self._decoder.getstate()[0]
        if was_between and self._is_between and "\ufffd" not in text:
            self._tokenizer.texts[token_id] = text
        return text
