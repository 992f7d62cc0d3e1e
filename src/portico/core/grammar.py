"""What the whole output must look like, and the vocabulary that such a demand is checked against token by token."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class GrammarKind(enum.Enum):
    """How a grammar is written.

    `LARK` is the Lark-like notation of llguidance, or the EBNF of llama.cpp (`root ::= ...`).
    """

    JSON_SCHEMA = "JSON schema"
    REGEX = "regular expression"
    LARK = "grammar"


@dataclass(frozen=True, slots=True)
class Grammar:
    """A demand on the whole text of an output, first token to last.

    Attributes:
        kind: how `text` is written.
        text: the JSON text of a schema, a regular expression, or the rules of a grammar.
        whitespace: between the tokens of JSON, as a regular expression; None is a little of any, empty is none.
        name: the client's own name of the field, for errors.
    """

    kind: GrammarKind
    text: str
    name: str = field(compare=False)
    whitespace: str | None = None


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What each token stands for.

    Attributes:
        tokens: the bytes of every id; empty where an id has none.
        special_ids: control tokens, which are no part of a text.
        definition: the content of the tokenizer.json that all this comes from, if it comes from one.
    """

    tokens: tuple[bytes, ...]
    special_ids: frozenset[int]
    definition: str | None
