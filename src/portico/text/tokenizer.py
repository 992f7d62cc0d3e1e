"""A checkpoint's tokenizer.json: text to ids, and each id to its own bytes."""

from __future__ import annotations

import json
import re
from itertools import accumulate
from pathlib import Path
from typing import Any

import tokenizers

from portico.core.tokens import TokenSpan

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenizerLoadError(Exception):
    """The checkpoint has no tokenizer that can be read; the message is one sentence for the operator."""


class Tokenizer:
    """Ids to bytes is a table look-up, so that detokenising a stream costs the same for every token.

    Two layouts are known: byte-level BPE (every character of a token stands for one byte) and SentencePiece-like
    (`▁` is a space, `<0x0A>` a byte).
    """

    def __init__(self, backend: tokenizers.Tokenizer, is_byte_level: bool) -> None:
        self._backend = backend
        self._is_byte_level = is_byte_level
        added = backend.get_added_tokens_decoder()
        self._added: dict[int, str] = {token_id: token.content for token_id, token in added.items()}
        self._special_ids = frozenset(token_id for token_id, token in added.items() if token.special)
        self._id_of_special = {self._added[token_id]: token_id for token_id in self._special_ids}
        self._raw: dict[int, bytes] = {}

    @classmethod
    def load(cls, checkpoint: Path) -> Tokenizer:
        """Reads `tokenizer.json` of a checkpoint directory.

        Raises:
            TokenizerLoadError: the file is missing or broken.
        """
        path = checkpoint / "tokenizer.json"
        if not path.is_file():
            raise TokenizerLoadError(f"{checkpoint} has no tokenizer.json")
        text = path.read_text(encoding="utf-8")
        try:
            description = json.loads(text)
            backend = tokenizers.Tokenizer.from_str(text)
        except Exception as error:
            raise TokenizerLoadError(f"{path} cannot be read as a tokenizer: {error}") from error
        return cls(backend, "ByteLevel" in _type_names(description.get("decoder")))

    @property
    def vocab_size(self) -> int:
        """Ids that have a token, added ones included."""
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    @property
    def special_ids(self) -> frozenset[int]:
        """Control tokens such as `<|im_end|>`."""
        return self._special_ids

    def find_special(self, text: str) -> int | None:
        """The id of the control token that is written exactly so."""
        return self._id_of_special.get(text)

    def encode(self, text: str, add_special_tokens: bool) -> tuple[int, ...]:
        """Token ids of a text; control tokens written in it become their ids."""
        return tuple(self._backend.encode(text, add_special_tokens=add_special_tokens).ids)

    def spans(self, text: str, add_special_tokens: bool) -> tuple[TokenSpan, ...]:
        """The tokens of a text with the parts of it that they were made of."""
        encoding = self._backend.encode(text, add_special_tokens=add_special_tokens)
        # The library counts characters; a lone surrogate cannot come, JSON has none after decoding.
        byte_offsets = [0, *accumulate(len(character.encode("utf-8", "replace")) for character in text)]
        return tuple(
            TokenSpan(token_id, str(piece), text[start:end], byte_offsets[start], byte_offsets[end])
            for token_id, piece, (start, end) in zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True)
        )

    def raw(self, token_id: int) -> bytes:
        """The bytes that one token stands for; possibly a part of a character. Unknown ids have none."""
        found = self._raw.get(token_id)
        if found is None:
            found = self._raw[token_id] = self._to_bytes(token_id)
        return found

    def decode(self, token_ids: tuple[int, ...], skip_special_tokens: bool) -> str:
        """The text of ids as the checkpoint's own decoder writes it, undecodable bytes replaced."""
        return str(self._backend.decode(list(token_ids), skip_special_tokens=skip_special_tokens))

    def _to_bytes(self, token_id: int) -> bytes:
        content = self._added.get(token_id)
        if content is not None:
            return content.encode()
        token = self._backend.id_to_token(token_id)
        if token is None:
            return b""
        if self._is_byte_level:
            return bytes(_BYTE_OF_CHARACTER[character] for character in token)
        if byte := _BYTE_TOKEN.fullmatch(token):
            return bytes([int(byte[1], 16)])
        return str(token).replace("▁", " ").encode()


def _type_names(description: Any) -> set[str]:
    """The component types in a (possibly nested) part of tokenizer.json."""
    if isinstance(description, dict):
        names = {description["type"]} if "type" in description else set()
        return names.union(*(_type_names(value) for value in description.values()))
    if isinstance(description, list):
        return set().union(*(_type_names(value) for value in description))
    return set()


def _byte_of_character() -> dict[str, int]:
    """The GPT-2 table of byte-level BPE, from character to byte: printable bytes stand for themselves."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    table.update({chr(256 + offset): byte for offset, byte in enumerate(others)})
    return table


_BYTE_OF_CHARACTER = _byte_of_character()
