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


class Spelling:
    """A vocabulary as compilers of grammars read it: the bytes of tokens, and a way to write text with the longest.

    The tokens that are special are no part of a text. Calling it gives the ids of a text, as far as there are tokens.
    """

    bos_token_id = None

    def __init__(self, tokens: list[bytes], special_ids: list[int], eos_token_id: int) -> None:
        self.tokens = tokens
        self.special_token_ids = special_ids
        self.eos_token_id = eos_token_id
        special = set(special_ids)
        self._ids = {token: token_id for token_id, token in enumerate(tokens) if token_id not in special}
        self._longest = max(map(len, tokens))

    def __call__(self, text: bytes) -> list[int]:
        found: list[int] = []
        start = 0
        while start < len(text):
            lengths = range(min(self._longest, len(text) - start), 0, -1)
            length = next((each for each in lengths if text[start : start + each] in self._ids), 0)
            if not length:
                break
            found.append(self._ids[text[start : start + length]])
            start += length
        return found
