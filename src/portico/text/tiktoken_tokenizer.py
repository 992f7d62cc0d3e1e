"""The tokenizer of the first Qwen models: a file of byte sequences and their ranks, run by tiktoken.

After `tokenization_qwen.py` of Qwen/Qwen-7B: text in normal form C, control tokens of text become their ids, and
nothing is added to a text.
"""

from __future__ import annotations

import base64
import binascii
import unicodedata
from collections.abc import Iterator, Mapping, Set
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from portico.core.tokens import Spans, TokenSpan
from portico.text.tokenizer import Tokenizer, TokenizerLoadError

if TYPE_CHECKING:
    import tiktoken

_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_FIRST_SPECIAL_ID = 151_643
_SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{number}|>" for number in range(205)))
_MAX_CHARACTERS = 100_000


class TiktokenTokenizer(Tokenizer):
    """Ranks are ids; the control tokens have the ids that they have in every Qwen model."""

    def __init__(self, ranks: Mapping[bytes, int]) -> None:
        # Imported only when needed: few checkpoints have such a file.
        import tiktoken

        special = {_FIRST_SPECIAL_ID + offset: token for offset, token in enumerate(_SPECIAL_TOKENS)}
        super().__init__(special, drops_first_space=False)
        self._encoding: tiktoken.Encoding = tiktoken.Encoding(
            "qwen", pat_str=_PATTERN, mergeable_ranks=dict(ranks), special_tokens=self._id_of_special
        )
        self._bytes = {token_id: token for token, token_id in ranks.items()}
        self._bytes |= {token_id: token.encode() for token_id, token in special.items()}

    @classmethod
    def read(cls, path: Path) -> TiktokenTokenizer:
        """Reads a file with a token in base 64 and its rank on each line.

        Raises:
            TokenizerLoadError: the file is broken.
        """
        ranks: dict[bytes, int] = {}
        try:
            for line in path.read_bytes().splitlines():
                if line:
                    token, rank = line.split()
                    ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (OSError, ValueError, binascii.Error) as error:
            raise TokenizerLoadError(f"{path} cannot be read as a tokenizer: {error}") from error
        missing = next((byte for byte in range(256) if bytes([byte]) not in ranks), None)
        if missing is not None:
            raise TokenizerLoadError(f"{path} cannot be read as a tokenizer: it has no token for the byte {missing}")
        if max(ranks.values()) >= _FIRST_SPECIAL_ID or len(set(ranks.values())) < len(ranks):
            raise TokenizerLoadError(
                f"{path} cannot be read as a tokenizer: its ranks are not different numbers below {_FIRST_SPECIAL_ID}"
            )
        return cls(ranks)

    @property
    def vocab_size(self) -> int:
        """See `Tokenizer`."""
        return int(self._encoding.n_vocab)

    def encode(self, text: str, add_special_tokens: bool, own: Spans | None = None) -> tuple[int, ...]:
        """See `Tokenizer`; there are no tokens to add."""
        if own is None:
            return self._encode(_normal(text), "all")
        pieces = self._pieces(text, own)
        return tuple(each for piece, marker in pieces for each in (self._encode(piece) if marker is None else [marker]))

    def _pieces(self, text: str, own: Spans) -> Iterator[tuple[str, int | None]]:
        """What the template's control tokens cut a text into, in normal form C, and these with their ids."""
        place = 0
        for match in self.find_markers(text, own):
            yield _normal(text[place : match.start()]), None
            yield match[0], self._id_of_marker[match[0]]
            place = match.end()
        yield _normal(text[place:]), None

    def _encode(self, text: str, special: Literal["all"] | Set[str] = frozenset()) -> tuple[int, ...]:
        """Of a text in normal form C."""
        try:
            return tuple(self._encoding.encode(text, allowed_special=special, disallowed_special=()))
        except ValueError:
            # Runs of about a million spaces are more than the library's regular expressions can take.
            pieces = (text[start : start + _MAX_CHARACTERS] for start in range(0, len(text), _MAX_CHARACTERS))
            encoded = (self._encoding.encode(piece, allowed_special=special, disallowed_special=()) for piece in pieces)
            return tuple(token_id for piece in encoded for token_id in piece)

    def spans(self, text: str, add_special_tokens: bool, own: Spans | None = None) -> tuple[TokenSpan, ...]:
        """See `Tokenizer`; the parts are those of the text in normal form C, which most texts are in already."""
        normal = _normal(text) if own is None else "".join(piece for piece, _ in self._pieces(text, own))
        whole = normal.encode("utf-8", "replace")
        token_ids = self.encode(text, add_special_tokens, own)
        ends = list(accumulate(len(self.raw(token_id)) for token_id in token_ids))
        found = []
        for token_id, start, end in zip(token_ids, [0, *ends], ends, strict=False):
            while start > 0 and _is_continuation(whole[start]):
                start -= 1
            while end < len(whole) and _is_continuation(whole[end]):
                end += 1
            piece = self.raw(token_id).decode("utf-8", "backslashreplace")
            found.append(TokenSpan(token_id, piece, whole[start:end].decode("utf-8"), start, end))
        return tuple(found)

    def decode(self, token_ids: tuple[int, ...], skip_special_tokens: bool) -> str:
        """See `Tokenizer`."""
        shown = (each for each in token_ids if not (skip_special_tokens and each in self.special_ids))
        return b"".join(map(self.raw, shown)).decode("utf-8", "replace")

    def _to_bytes(self, token_id: int) -> bytes:
        return self._bytes.get(token_id, b"")


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _is_continuation(byte: int) -> bool:
    """Whether a byte of UTF-8 is not the first one of its character."""
    return byte & 0xC0 == 0x80
