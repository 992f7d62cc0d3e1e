"""The tokenizer of a checkpoint's tokenizer.json, run by the library that such files are made with."""

from __future__ import annotations

import functools
import json
import re
from itertools import accumulate
from pathlib import Path
from typing import Any

import tokenizers

from portico.core.tokens import Spans, TokenSpan
from portico.text.plain_json_tokenizer import PlainJsonTokenizer, StandInText, encode_text
from portico.text.tokenizer import Tokenizer, TokenizerLoadError, is_marker

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class JsonTokenizer(Tokenizer):
    """Two layouts are known: byte-level BPE (every character of a token stands for one byte) and SentencePiece-like
    (`▁` is a space, `<0x0A>` a byte)."""

    def __init__(self, backend: tokenizers.Tokenizer, is_byte_level: bool, drops_first_space: bool) -> None:
        self._backend = backend
        self._is_byte_level = is_byte_level
        self._added: dict[int, str] = {
            token_id: token.content for token_id, token in backend.get_added_tokens_decoder().items()
        }
        special = {
            token_id: token.content for token_id, token in backend.get_added_tokens_decoder().items() if token.special
        }
        markers = {
            token_id: token.content
            for token_id, token in backend.get_added_tokens_decoder().items()
            if is_marker(token.content, token.special)
        }
        super().__init__(special, drops_first_space, markers)

    @classmethod
    def read(cls, path: Path) -> JsonTokenizer:
        """Reads a tokenizer.json.

        Raises:
            TokenizerLoadError: the file is broken.
        """
        try:
            text = path.read_text(encoding="utf-8")
            description = json.loads(text)
            backend = tokenizers.Tokenizer.from_str(text)
        except Exception as error:
            raise TokenizerLoadError(f"{path} cannot be read as a tokenizer: {error}") from error
        decoder = description.get("decoder")
        return cls(backend, "ByteLevel" in _type_names(decoder), _strips_first_space(decoder))

    @property
    def vocab_size(self) -> int:
        """See `Tokenizer`."""
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    @property
    def definition(self) -> str:
        """See `Tokenizer`."""
        return str(self._backend.to_str())

    def encode(self, text: str, add_special_tokens: bool, own: Spans | None = None) -> tuple[int, ...]:
        """See `Tokenizer`."""
        if own is not None:
            return self._plain.encode(self._stand_ins(text, own), add_special_tokens)
        return encode_text(self._backend, text, add_special_tokens)

    def spans(self, text: str, add_special_tokens: bool, own: Spans | None = None) -> tuple[TokenSpan, ...]:
        """See `Tokenizer`."""
        # The library counts characters; a lone surrogate cannot come, JSON has none after decoding.
        byte_offsets = [0, *accumulate(len(character.encode("utf-8", "replace")) for character in text)]
        if own is not None:
            found = self._plain.places(self._stand_ins(text, own), add_special_tokens)
        else:
            encoding = self._backend.encode_batch([text], add_special_tokens=add_special_tokens)[0]
            found = [(token_id, *place) for token_id, place in zip(encoding.ids, encoding.offsets, strict=True)]
        return tuple(
            TokenSpan(token_id, self._spelling(token_id), text[start:end], byte_offsets[start], byte_offsets[end])
            for token_id, start, end in found
        )

    @functools.cached_property
    def _plain(self) -> PlainJsonTokenizer:
        return PlainJsonTokenizer(self.definition, self._marker_texts)

    def _stand_ins(self, text: str, own: Spans) -> StandInText:
        return self._plain.write(text, self.find_markers(text, own))

    def _spelling(self, token_id: int) -> str:
        return str(self._backend.id_to_token(token_id))

    def decode(self, token_ids: tuple[int, ...], skip_special_tokens: bool) -> str:
        """See `Tokenizer`; the file's own decoder writes the text."""
        return str(self._backend.decode(list(token_ids), skip_special_tokens=skip_special_tokens))

    def _to_bytes(self, token_id: int) -> bytes:
        content = self._added.get(token_id)
        if content is not None:
            return content.encode()
        token = self._backend.id_to_token(token_id)
        if token is None:
            return b""
        if self._is_byte_level:
            return bytes(BYTE_OF_CHARACTER[character] for character in token)
        if byte := _BYTE_TOKEN.fullmatch(token):
            return bytes([int(byte[1], 16)])
        return str(token).replace("▁", " ").encode()


def _components(description: Any) -> list[dict[str, Any]]:
    """The components of a (possibly nested) part of tokenizer.json."""
    if isinstance(description, dict):
        own = [description] if "type" in description else []
        return own + [each for value in description.values() for each in _components(value)]
    if isinstance(description, list):
        return [each for value in description for each in _components(value)]
    return []


def _type_names(description: Any) -> set[str]:
    return {str(each["type"]) for each in _components(description)}


def _strips_first_space(decoder: Any) -> bool:
    """Whether a decoder takes away the space that was put before the text when it was encoded."""
    return any(
        (each["type"] == "Strip" and each.get("content") == " " and each.get("start", 0) > 0)
        or (each["type"] == "Metaspace" and each.get("prepend_scheme", "always") != "never")
        for each in _components(decoder)
    )


def _byte_of_character() -> dict[str, int]:
    """The GPT-2 table of byte-level BPE, from character to byte: printable bytes stand for themselves."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    table.update({chr(256 + offset): byte for offset, byte in enumerate(others)})
    return table


BYTE_OF_CHARACTER = _byte_of_character()
