"""Holds sequences to grammars: which tokens may come next, by a parser that follows each output.

A grammar was checked before its job came here; what a parser may still use up in a step is bounded, and one that
reaches its bounds fails its own request only.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from portico.core.grammar import Grammar, Vocabulary

if TYPE_CHECKING:
    from llguidance import LLExecutor, LLMatcher, LLTokenizer

# Compiled grammars that are kept for requests to come; each may hold some ten megabytes.
_NUM_KEPT = 16
_EXHAUSTED = "The output cannot go on within the grammar, or the grammar is too complex."


class GrammarError(Exception):
    """A grammar cannot be followed; the message is a sentence."""


class Constraint:
    """Follows one sequence; `problem` says why it cannot go on, `is_over` that it must not."""

    def __init__(self, matcher: LLMatcher) -> None:
        self.matcher = matcher
        self.problem: str | None = None

    def fork(self) -> Constraint:
        """The same place in the grammar for another sequence."""
        return Constraint(self.matcher.deep_copy())

    @property
    def is_over(self) -> bool:
        """Whether the grammar allows nothing more; with the last character, or with a token that ends sequences."""
        return bool(self.matcher.is_stopped())

    def advance(self, token_id: int) -> None:
        """Takes a drawn token.

        Raises:
            GrammarError: the grammar does not allow it, or its parser has failed.
        """
        if self.problem is None and not self.matcher.consume_token(token_id):
            self.problem = _EXHAUSTED
        if self.problem is not None:
            raise GrammarError(self.problem)


class GrammarCompiler:
    """Makes constraints for one model; `use` gives it the vocabulary, before the first grammar comes."""

    def __init__(self, vocab_size: int, eos_token_ids: tuple[int, ...]) -> None:
        self._vocab_size = vocab_size
        self._eos_token_ids = tuple(each for each in eos_token_ids if each < vocab_size)
        self._vocabulary: Vocabulary | None = None
        self._tokenizer: LLTokenizer | None = None
        self._kept: OrderedDict[Grammar, Constraint] = OrderedDict()
        self._lock = threading.Lock()

    def use(self, vocabulary: Vocabulary) -> None:
        """Takes note of what the tokens are."""
        self._vocabulary = vocabulary

    def find(self, grammar: Grammar) -> Constraint | None:
        """The beginning of a grammar that was compiled not long ago."""
        with self._lock:
            found = self._kept.get(grammar)
            if found is not None:
                self._kept.move_to_end(grammar)
            return found

    def compile(self, grammar: Grammar) -> Constraint:
        """The beginning of a grammar; sequences take forks of it. One thread at a time may compile.

        Raises:
            GrammarError: it cannot be compiled.
        """
        found = self.find(grammar) or self._compile(grammar)
        with self._lock:
            self._kept[grammar] = found
            if len(self._kept) > _NUM_KEPT:
                self._kept.popitem(last=False)
        return found

    def _compile(self, grammar: Grammar) -> Constraint:
        from llguidance import LLMatcher, LLParserLimits

        if self._tokenizer is None:
            if self._vocabulary is None:
                raise GrammarError("The engine does not know what its tokens stand for, so it can follow no grammar.")
            self._tokenizer = build_tokenizer(self._vocabulary, self._vocab_size, self._eos_token_ids)
        limits = LLParserLimits(
            initial_lexer_fuel=400_000, max_lexer_states=20_000, precompute_large_lexemes=False, verbose_errors=False
        )
        matcher = LLMatcher(self._tokenizer, grammar.text, log_level=0, limits=limits)
        if matcher.is_error():
            raise GrammarError(f"The grammar cannot be compiled: {matcher.get_error()}")
        return Constraint(matcher)


class GrammarMasks:
    """Computes what the grammars of a batch allow, all at once."""

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._executor: LLExecutor | None = None

    def restrict(self, scores: Tensor, logits: Tensor, rows: list[tuple[int, Constraint]], strict: list[bool]) -> None:
        """Sets the scores [rows, vocab] of what the grammars do not allow to -inf, in the given rows.

        Scores may have been restricted before. Where nothing is left of the logits then, the grammar stays and the
        other restrictions give way; those that are `strict` do not, and the sequence has a problem.
        """
        places = torch.tensor([place for place, _ in rows], device=scores.device)
        forbidden = ~self._allowed([constraint for _, constraint in rows]).to(scores.device)
        restricted = scores[places].masked_fill_(forbidden, -torch.inf)
        for index in (restricted.amax(1) == -torch.inf).nonzero().flatten().tolist():
            place, constraint = rows[index]
            restricted[index] = logits[place].masked_fill(forbidden[index], -torch.inf)
            if strict[index] and constraint.problem is None:
                constraint.problem = "The grammar and the allowed tokens leave no token to draw."
        scores[places] = restricted

    def _allowed(self, constraints: list[Constraint]) -> Tensor:
        """[constraints, vocab] of booleans; everything where a parser has failed, which no draw outlives."""
        from llguidance import LLExecutor
        from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask, fill_next_token_bitmask_par

        bits = allocate_token_bitmask(len(constraints), self._vocab_size + 1)
        if len(constraints) == 1:
            fill_next_token_bitmask(constraints[0].matcher, bits)
        else:
            self._executor = self._executor or LLExecutor()
            numbered = [(each.matcher, index) for index, each in enumerate(constraints)]
            fill_next_token_bitmask_par(self._executor, numbered, bits)
        for index, constraint in enumerate(constraints):
            if constraint.matcher.is_error() or not bits[index].any():
                constraint.problem = _EXHAUSTED
                bits[index] = -1
        allowed = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")[:, : self._vocab_size]
        return torch.from_numpy(allowed.view(np.bool_))


class _Spelling:
    """A vocabulary as the library reads it: the tokens' bytes, and a way to write text with the longest of them."""

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


def build_tokenizer(vocabulary: Vocabulary, vocab_size: int, eos_token_ids: tuple[int, ...]) -> LLTokenizer:
    """The library's own form of a vocabulary, as wide as the logits and one more.

    The last token is made up, to end the sequences of a model that has no token for it; it is never drawn.

    From a tokenizer.json it learns how the model was taught to spell what a grammar leaves no choice in. It is not used
    where it reads the tokens otherwise than the text of an answer is made of them.
    """
    from llguidance import LLTokenizer
    from llguidance._tokenizer import TokenizerWrapper

    tokens = [*vocabulary.tokens[:vocab_size]]
    tokens += [b""] * (vocab_size - len(tokens)) + [b"<|end|>"]
    ends = list(eos_token_ids) or [vocab_size]
    special = {*(each for each in vocabulary.special_ids if each < vocab_size), *ends, vocab_size}
    if vocabulary.definition is not None:
        try:
            made = LLTokenizer(vocabulary.definition, n_vocab=vocab_size + 1, eos_token=ends)
        except ValueError:
            pass
        else:
            if _agrees(made, tokens, special):
                return made
    spelling: Any = _Spelling(tokens, sorted(special), ends[0])
    return LLTokenizer(TokenizerWrapper(spelling), n_vocab=len(tokens), eos_token=ends)


def _agrees(made: LLTokenizer, tokens: list[bytes], special_ids: set[int]) -> bool:
    # The library marks special tokens with the byte 255, which is in no UTF-8, and so it cannot spell it.
    return all(
        made.decode_bytes([token_id]) == token and not made.is_special_token(token_id)
        for token_id, token in enumerate(tokens)
        if token and token_id not in special_ids and not token.startswith(b"\xff")
    )
