"""Token ids to text, one at a time."""

from __future__ import annotations

import codecs

from portico.text.tokenizer import Tokenizer

_new_decoder = codecs.getincrementaldecoder("utf-8")


class Detokenizer:
    """Gives the text that each token adds; bytes of an unfinished character are held until it is complete.

    The pieces joined, with `flush` at the end, are the text of the whole sequence; bytes that are no UTF-8 become
    U+FFFD.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool) -> None:
        self._tokenizer = tokenizer
        self._skipped = tokenizer.special_ids if skip_special_tokens else frozenset()
        self._decoder = _new_decoder("replace")

    def feed(self, token_id: int) -> str:
        """The text that becomes readable with this token."""
        if token_id in self._tokenizer.special_ids:
            pending = self.flush()
            return pending if token_id in self._skipped else pending + self._tokenizer.raw(token_id).decode()
        return self._decoder.decode(self._tokenizer.raw(token_id))

    def flush(self) -> str:
        """What is left of an unfinished character, as U+FFFD."""
        return self._decoder.decode(b"", final=True)
