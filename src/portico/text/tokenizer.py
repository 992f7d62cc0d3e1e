"""What the server asks of a tokenizer: text to ids, and each id to its own bytes. One subclass per file format."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from portico.core.grammar import Vocabulary
from portico.core.tokens import TokenSpan


class TokenizerLoadError(Exception):
    """The checkpoint has no tokenizer that can be read; the message is one sentence for the operator."""


class Tokenizer(ABC):
    """Ids to bytes is a table look-up, so that detokenising a stream costs the same for every token.

    Attributes:
        special_ids: control tokens such as `<|im_end|>`.
        drops_first_space: a space at the beginning of a text, or behind a control token, is none of the text's: it
            was put there when the text was encoded.
    """

    def __init__(self, special_tokens: Mapping[int, str], drops_first_space: bool) -> None:
        self.special_ids = frozenset(special_tokens)
        self.drops_first_space = drops_first_space
        self._id_of_special = {text: token_id for token_id, text in special_tokens.items()}
        self._raw: dict[int, bytes] = {}

    @staticmethod
    def load(checkpoint: Path) -> Tokenizer:
        """Reads the tokenizer of a checkpoint directory: tokenizer.json, qwen.tiktoken or tokenizer.model.

        Raises:
            TokenizerLoadError: no such file, or a broken one.
        """
        # Imported only when needed: each format has a library of its own.
        if (checkpoint / "tokenizer.json").is_file():
            from portico.text.json_tokenizer import JsonTokenizer

            return JsonTokenizer.read(checkpoint / "tokenizer.json")
        if (checkpoint / "qwen.tiktoken").is_file():
            from portico.text.tiktoken_tokenizer import TiktokenTokenizer

            return TiktokenTokenizer.read(checkpoint / "qwen.tiktoken")
        if (checkpoint / "tokenizer.model").is_file():
            from portico.text.sentencepiece_tokenizer import SentencePieceTokenizer

            return SentencePieceTokenizer.read(checkpoint)
        raise TokenizerLoadError(f"{checkpoint} has no tokenizer.json, qwen.tiktoken or tokenizer.model")

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Ids that have a token, added ones included."""

    @abstractmethod
    def encode(self, text: str, add_special_tokens: bool) -> tuple[int, ...]:
        """Token ids of a text; control tokens written in it become their ids."""

    @abstractmethod
    def spans(self, text: str, add_special_tokens: bool) -> tuple[TokenSpan, ...]:
        """The tokens of a text with the parts of it that they were made of."""

    @abstractmethod
    def decode(self, token_ids: tuple[int, ...], skip_special_tokens: bool) -> str:
        """The text of ids as the checkpoint's own decoder writes it, undecodable bytes replaced."""

    @property
    def definition(self) -> str | None:
        """The content of the tokenizer.json that this is, if it is one."""
        return None

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """All tokens at once; made when first asked for."""
        tokens = tuple(self._to_bytes(token_id) for token_id in range(self.vocab_size))
        return Vocabulary(tokens, self.special_ids, self.definition)

    @abstractmethod
    def _to_bytes(self, token_id: int) -> bytes:
        """See `raw`."""

    def find_special(self, text: str) -> int | None:
        """The id of the control token that is written exactly so."""
        return self._id_of_special.get(text)

    def raw(self, token_id: int) -> bytes:
        """The bytes that one token stands for; possibly a part of a character. Unknown ids have none."""
        found = self._raw.get(token_id)
        if found is None:
            found = self._raw[token_id] = self._to_bytes(token_id)
        return found
