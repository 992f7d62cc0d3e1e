"""What the server asks of a tokenizer: text to ids, and each id to its own bytes. One subclass per file format."""

from __future__ import annotations

import functools
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path

from portico.core.grammar import Vocabulary
from portico.core.tokens import Spans, TokenSpan

# What UTF-8 can have; the bytes that are missing here are in no text.
_BYTES_OF_TEXT = {*range(0xC0), *range(0xC2, 0xF5)}


class TokenizerLoadError(Exception):
    """The checkpoint has no tokenizer that can be read; the message is one sentence for the operator."""


class Tokenizer(ABC):
    """Ids to bytes is a table look-up, so that detokenising a stream costs the same for every token.

    Text can be encoded as it is, or with the places of what is the template's `own`: then markers are found there
    alone, and everywhere else they are spelled like any other text.

    Attributes:
        special_ids: control tokens such as `<|im_end|>`.
        marker_ids: control tokens, and what else gives a text its structure, such as `<think>`.
        drops_first_space: a space at the beginning of a text, or behind a control token, is none of the text's: it
            was put there when the text was encoded.
        texts: ordinary tokens met so far that are whole characters by themselves, as text.
    """

    def __init__(
        self, special_tokens: Mapping[int, str], drops_first_space: bool, markers: Mapping[int, str] | None = None
    ) -> None:
        self.special_ids = frozenset(special_tokens)
        self._marker_texts = dict(special_tokens if markers is None else markers)
        self._id_of_marker = {text: token_id for token_id, text in self._marker_texts.items()}
        self.marker_ids = frozenset(self._marker_texts)
        self._marker = either(self._id_of_marker)
        self.drops_first_space = drops_first_space
        self._id_of_special = {text: token_id for token_id, text in special_tokens.items()}
        self.texts: dict[int, str] = {}
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
    def encode(self, text: str, add_special_tokens: bool, own: Spans | None = None) -> tuple[int, ...]:
        """Token ids of a text; control tokens written in it, or in its `own` parts, become their ids.

        Raises:
            InvalidParameter: with `own`, the tokenizer has no other way to write a part of the text.
        """

    @abstractmethod
    def spans(self, text: str, add_special_tokens: bool, own: Spans | None = None) -> tuple[TokenSpan, ...]:
        """The tokens of a text, encoded in the same way, with the parts of it that they were made of."""

    @abstractmethod
    def decode(self, token_ids: tuple[int, ...], skip_special_tokens: bool) -> str:
        """The text of ids as the checkpoint's own decoder writes it, undecodable bytes replaced."""

    def find_markers(self, text: str, own: Spans) -> Iterator[re.Match[str]]:
        """The markers that stand in the given parts of a text as a whole; the longest where several begin."""
        return (match for start, end in own for match in self._marker.finditer(text, start, end))

    @property
    def definition(self) -> str | None:
        """The content of the tokenizer.json that this is, if it is one."""
        return None

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """All tokens at once; made when first asked for."""
        tokens = tuple(self._to_bytes(token_id) for token_id in range(self.vocab_size))
        return Vocabulary(tokens, self.special_ids, self.definition)

    @functools.cached_property
    def writes_everything(self) -> bool:
        """Whether every byte that UTF-8 has is a token of its own, so that there are tokens for any text."""
        tokens = self.vocabulary.tokens
        single = {
            token[0] for token_id, token in enumerate(tokens) if len(token) == 1 and token_id not in self.special_ids
        }
        return single.issuperset(_BYTES_OF_TEXT)

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


def is_marker(text: str, is_special: bool) -> bool:
    """Whether a token that a vocabulary was given besides its own is markup, and not a word, a sign or white space."""
    return is_special or (len(text) > 1 and not all(map(_is_of_words, text)))


def either(texts: Mapping[str, int]) -> re.Pattern[str]:
    """Finds these texts; the longest where several begin."""
    longest_first = sorted(map(re.escape, texts), key=len, reverse=True)
    return re.compile("|".join(longest_first) or r"(?!)")


def _is_of_words(character: str) -> bool:
    # Some vocabularies write `▁` for a space.
    return character.isspace() or character == "▁" or unicodedata.category(character)[0] in "LMN"
