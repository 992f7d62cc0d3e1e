"""The tokenizer of a SentencePiece model (tokenizer.model), as Baichuan and Llama 2 have it.

After `tokenization_baichuan.py` of Baichuan2-7B-Chat and the slow `LlamaTokenizer` of transformers 4: a text is cut
at its control tokens, each piece is encoded by itself, and a beginning-of-sequence token is put before the whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.core.errors import InvalidParameter
from portico.core.tokens import Spans, TokenSpan
from portico.text.detokenizer import Detokenizer
from portico.text.tokenizer import Tokenizer, TokenizerLoadError, either, is_marker

if TYPE_CHECKING:
    import sentencepiece

    # A place in a text, what stands there, and its id or the model that finds its ids.
    _Piece = tuple[int, str, int | sentencepiece.SentencePieceProcessor]

# Baichuan's turns begin with such tokens; the model file has them as ordinary pieces that are never cut.
_RESERVED = re.compile(r"<reserved_\d+>")
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")
# `normalizer_spec { add_dummy_prefix: false }`: messages of protocol buffers that follow each other are merged.
_WITHOUT_PREFIX = b"\x1a\x02\x18\x00"


class SentencePieceTokenizer(Tokenizer):
    """`▁` is a space and `<0x0A>` a byte.

    `config` is the content of tokenizer_config.json; `added` are tokens that the model file lacks, and
    `ordinary_ids` those of them that are no control tokens.
    """

    def __init__(
        self, model: bytes, config: dict[str, Any], added: dict[int, str], ordinary_ids: frozenset[int] = frozenset()
    ) -> None:
        # Imported only when needed: few checkpoints have such a file and no tokenizer.json.
        import sentencepiece

        self._model = sentencepiece.SentencePieceProcessor(model_proto=model)
        self._num_pieces: int = self._model.get_piece_size()
        has_prefix = self._model.normalize("a").startswith("▁")
        # Without `legacy` only the text's beginning gets a space, not what stands behind a control token.
        self._inner_model = self._model
        if has_prefix and config.get("legacy") is False:
            self._inner_model = sentencepiece.SentencePieceProcessor(model_proto=model + _WITHOUT_PREFIX)
        # What stands behind the place where a piece had to be cut gets none either.
        self._behind_cut = self._inner_model
        if has_prefix and self._inner_model is self._model:
            self._behind_cut = sentencepiece.SentencePieceProcessor(model_proto=model + _WITHOUT_PREFIX)
        self._added = added
        uncut = self._special_pieces() | added | self._named(config)
        special = {token_id: text for token_id, text in uncut.items() if token_id not in ordinary_ids}
        markers = {token_id: text for token_id, text in uncut.items() if is_marker(text, token_id in special)}
        super().__init__(special, has_prefix, markers)
        self._id_of_uncut = {text: token_id for token_id, text in uncut.items()}
        self._boundary = either(self._id_of_uncut)
        self._word = either({text: token_id for text, token_id in self._id_of_uncut.items() if token_id not in markers})
        self._never_content = self.marker_ids - {self._model.unk_id()}
        self._before = self._ids_to_add(config, "bos", is_default=True)
        self._behind = self._ids_to_add(config, "eos", is_default=False)

    @classmethod
    def read(cls, checkpoint: Path) -> SentencePieceTokenizer:
        """Reads tokenizer.model, and what the other files of the directory say of its control tokens.

        Raises:
            TokenizerLoadError: a file is broken.
        """
        config = _read_object(checkpoint / "special_tokens_map.json")
        config |= _read_object(checkpoint / "tokenizer_config.json")
        added = {token_id: text for text, token_id in _read_object(checkpoint / "added_tokens.json").items()}
        described = {int(token_id): token for token_id, token in config.get("added_tokens_decoder", {}).items()}
        added |= {token_id: _content(token) for token_id, token in described.items()}
        ordinary_ids = frozenset(token_id for token_id, token in described.items() if not token.get("special", True))
        path = checkpoint / "tokenizer.model"
        try:
            return cls(path.read_bytes(), config, added, ordinary_ids)
        except (OSError, RuntimeError) as error:
            raise TokenizerLoadError(f"{path} cannot be read as a tokenizer: {error}") from error

    @property
    def vocab_size(self) -> int:
        """See `Tokenizer`."""
        return max(self._num_pieces, 1 + max(self._id_of_uncut.values()))

    def encode(self, text: str, add_special_tokens: bool, own: Spans | None = None) -> tuple[int, ...]:
        """See `Tokenizer`."""
        token_ids: list[int] = [*self._before] if add_special_tokens else []
        for _, piece, each in self._pieces(text, own):
            token_ids += [each] if isinstance(each, int) else each.encode(piece)
        return (*token_ids, *(self._behind if add_special_tokens else ()))

    def spans(self, text: str, add_special_tokens: bool, own: Spans | None = None) -> tuple[TokenSpan, ...]:
        """See `Tokenizer`."""
        places: list[tuple[int, int, int]] = []
        for start, piece, each in self._pieces(text, own):
            places += [(each, start, start + len(piece))] if isinstance(each, int) else self._places(each, piece, start)
        if add_special_tokens:
            places[:0] = [(token_id, 0, 0) for token_id in self._before]
            places += [(token_id, len(text), len(text)) for token_id in self._behind]
        byte_offsets = [0, *accumulate(len(character.encode("utf-8", "replace")) for character in text)]
        return tuple(
            TokenSpan(token_id, self._spelling(token_id), text[start:end], byte_offsets[start], byte_offsets[end])
            for token_id, start, end in places
        )

    def decode(self, token_ids: tuple[int, ...], skip_special_tokens: bool) -> str:
        """See `Tokenizer`."""
        detokenizer = Detokenizer(self, skip_special_tokens)
        return "".join(map(detokenizer.feed, token_ids)) + detokenizer.flush()

    def _to_bytes(self, token_id: int) -> bytes:
        if token_id in self._added:
            return self._added[token_id].encode()
        if not 0 <= token_id < self._num_pieces:
            return b""
        piece: str = self._model.id_to_piece(token_id)
        if self._model.is_byte(token_id):
            return bytes([int(piece[3:5], 16)])
        return piece.encode() if token_id in self.special_ids else piece.replace("▁", " ").encode()

    def _pieces(self, text: str, own: Spans | None) -> Iterator[_Piece]:
        """The places and parts of a text: tokens that are never cut, with their ids, and what is between them."""
        place = 0
        for match in self._uncut(text, own):
            yield from self._between(text, place, match.start(), own is not None)
            yield match.start(), match[0], self._id_of_uncut[match[0]]
            place = match.end()
        yield from self._between(text, place, len(text), own is not None)

    def _uncut(self, text: str, own: Spans | None) -> Iterator[re.Match[str]]:
        if own is None:
            yield from self._boundary.finditer(text)
            return
        place = 0
        for start, end in (*own, (len(text), len(text))):
            yield from self._word.finditer(text, place, start)
            yield from self._boundary.finditer(text, start, end)
            place = end

    def _between(self, text: str, start: int, end: int, is_plain: bool) -> Iterator[_Piece]:
        """What stands between two places; where it must be plain text, cut within what the model takes for a marker."""
        model = self._model if start == 0 else self._inner_model
        pieces = [(start, text[start:end], model)] if start < end else []
        while pieces:
            place, piece, model = pieces.pop()
            marked = self._find_marked(model, piece) if is_plain else []
            if not marked:
                yield place, piece, model
                continue
            cuts = [0, *marked, len(piece)]
            cut = [(place + one, piece[one:other], self._behind_cut if one else model) for one, other in pairwise(cuts)]
            pieces += reversed(cut)

    def _find_marked(self, model: sentencepiece.SentencePieceProcessor, piece: str) -> list[int]:
        """The places behind the first characters of what the model takes for markers."""
        if self._never_content.isdisjoint(model.encode(piece)):
            return []
        marked = [(start, end) for each, start, end in self._places(model, piece, 0) if each in self._never_content]
        if any(end - start < 2 for start, end in marked):
            raise InvalidParameter("messages", "The messages have a character that is always a control token.")
        return sorted({start + 1 for start, _ in marked})

    def _places(
        self, model: sentencepiece.SentencePieceProcessor, piece: str, place: int
    ) -> Iterator[tuple[int, int, int]]:
        """The tokens of a piece at a place of the text, with their beginnings and ends there."""
        encoding = model.encode(piece, return_type="offset_mapping")
        token_ids, offsets = encoding["ids"], encoding["offsets"]
        index = 0
        while index < len(token_ids):
            # The bytes of one character come one after another, and the last of them alone has the character.
            last = index
            while self._model.is_byte(token_ids[last]) and offsets[last][0] == offsets[last][1]:
                last += 1
            for token_id in token_ids[index : last + 1]:
                yield token_id, place + offsets[index][0], place + offsets[last][1]
            index = last + 1

    def _spelling(self, token_id: int) -> str:
        return self._added.get(token_id) or str(self._model.id_to_piece(token_id))

    def _special_pieces(self) -> dict[int, str]:
        model = self._model
        pieces: dict[int, str] = {token_id: model.id_to_piece(token_id) for token_id in range(self._num_pieces)}
        return {
            token_id: piece
            for token_id, piece in pieces.items()
            if model.is_control(token_id) or model.is_unknown(token_id) or _RESERVED.fullmatch(piece)
        }

    def _named(self, config: dict[str, Any]) -> dict[int, str]:
        """Ordinary pieces that the configuration calls control tokens."""
        names = [config[name] for name in _NAMED_TOKENS if config.get(name)]
        texts = {_content(each) for each in (*names, *config.get("additional_special_tokens", []))}
        token_ids = {self._model.piece_to_id(text): text for text in texts}
        return {token_id: text for token_id, text in token_ids.items() if self._model.id_to_piece(token_id) == text}

    def _ids_to_add(self, config: dict[str, Any], name: str, is_default: bool) -> tuple[int, ...]:
        if not config.get(f"add_{name}_token", is_default):
            return ()
        text = _content(config.get(f"{name}_token") or {"bos": "<s>", "eos": "</s>"}[name])
        token_id = self._id_of_special.get(text)
        return () if token_id is None else (token_id,)


def _read_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TokenizerLoadError(f"{path} is not valid JSON: {error}") from error
    return value if isinstance(value, dict) else {}


def _content(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) else str(token)
