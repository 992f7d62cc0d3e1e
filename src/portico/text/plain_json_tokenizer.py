"""A tokenizer.json whose markers have names that nobody can write, so that text never becomes one of them.

Everything else is as in the file, and the whole text is encoded at once: what stands around a marker is cut, normalised
and merged just as it would be around the marker itself.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import tokenizers

from portico.core.errors import InvalidParameter

# Characters of a text that is tokenised while nothing else goes on: the library lets go of the interpreter for batches
# only, which cost more to begin with.
_SHORT = 4096


def encode_text(backend: tokenizers.Tokenizer, text: str, add_special_tokens: bool) -> tuple[int, ...]:
    """The ids of a text."""
    if len(text) <= _SHORT:
        return tuple(backend.encode(text, add_special_tokens=add_special_tokens).ids)
    return tuple(backend.encode_batch_fast([text], add_special_tokens=add_special_tokens)[0].ids)


@dataclass(frozen=True, slots=True)
class StandInText:
    """A text in which stand-ins are written for its markers; `markers` are the places of both, (start, end) each."""

    text: str
    markers: tuple[tuple[tuple[int, int], tuple[int, int]], ...]


class PlainJsonTokenizer:
    """Encodes text in which only stand-ins are markers.

    `markers` are the texts of the added tokens to be replaced, by their ids. A token that the model has in its own
    vocabulary is renamed there too, and what would merge into it is taken out.
    """

    def __init__(self, definition: str, markers: Mapping[int, str]) -> None:
        # Random, so that a client cannot write it, and only what every normaliser leaves as it is.
        self._secret = secrets.token_hex(16).translate(str.maketrans("0123456789", "ghijklmnop"))
        self._stand_ins = {text: self._name(index) for index, text in enumerate(markers.values())}
        description = json.loads(definition)
        for token in description["added_tokens"]:
            token["content"] = self._stand_ins.get(token["content"], token["content"])
        _rename(description["model"], self._stand_ins)
        self._backend = tokenizers.Tokenizer.from_str(json.dumps(description, ensure_ascii=False))
        self._id_of = {self._backend.token_to_id(self._stand_ins[text]): token_id for token_id, text in markers.items()}

    def write(self, text: str, markers: Iterable[re.Match[str]]) -> StandInText:
        """The text with stand-ins for these of its markers.

        Raises:
            InvalidParameter: it has the secret that stand-ins are made of.
        """
        if self._secret in text:
            raise InvalidParameter("messages", "The messages cannot be told from what the server writes around them.")
        parts: list[str] = []
        places: list[tuple[tuple[int, int], tuple[int, int]]] = []
        copied = length = 0
        for match in markers:
            stand_in = self._stand_ins[match[0]]
            parts += [text[copied : match.start()], stand_in]
            start = length + match.start() - copied
            length = start + len(stand_in)
            places.append(((start, length), match.span()))
            copied = match.end()
        return StandInText("".join((*parts, text[copied:])), tuple(places))

    def encode(self, written: StandInText, add_special_tokens: bool) -> tuple[int, ...]:
        """The ids of a text."""
        token_ids = encode_text(self._backend, written.text, add_special_tokens)
        return tuple(self._id_of.get(token_id, token_id) for token_id in token_ids)

    def places(self, written: StandInText, add_special_tokens: bool) -> list[tuple[int, int, int]]:
        """The ids of a text, with their beginnings and ends in the text before stand-ins were written."""
        encoding = self._backend.encode_batch([written.text], add_special_tokens=add_special_tokens)[0]
        origins = list(chain.from_iterable(_origins(written)))
        return [
            (self._id_of.get(token_id, token_id), origins[start], origins[end])
            for token_id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
        ]

    def _name(self, index: int) -> str:
        letters = "".join(chr(ord("a") + int(digit)) for digit in str(index))
        return f"<{self._secret}{letters}>"


def _origins(written: StandInText) -> Iterable[Iterable[int]]:
    """The place before, for each place in the text with stand-ins."""
    place = before = 0
    for (start, end), (start_before, end_before) in written.markers:
        yield range(before, before + start - place)
        yield (start_before for _ in range(start, end))
        place, before = end, end_before
    yield range(before, before + len(written.text) - place + 1)


def _rename(model: dict[str, Any], names: Mapping[str, str]) -> None:
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(token, token): token_id for token, token_id in vocabulary.items()}
    else:
        model["vocab"] = [[names.get(token, token), score] for token, score in vocabulary]
    if model.get("unk_token") is not None:
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    if "merges" in model:
        pairs = (each.split(" ") if isinstance(each, str) else each for each in model["merges"])
        model["merges"] = [
            [one, other] for one, other in pairs if one + other not in names and one not in names and other not in names
        ]
