"""A text as its tokens."""

from __future__ import annotations

from dataclasses import dataclass

# Places in a text, in order and without touching: where each begins and ends, in characters.
Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """One token of a text.

    Attributes:
        id: its id.
        piece: how the vocabulary spells it.
        text: the part of the text that it was made of; tokens of one character all have the whole of it.
        start: where that part begins, in bytes of UTF-8.
        end: where it ends. A token that the tokenizer has added by itself has no part of the text.
    """

    id: int
    piece: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A prompt, as it was written for the tokenizer, and its tokens; `max_model_len` is the model's."""

    text: str
    tokens: tuple[TokenSpan, ...]
    max_model_len: int
