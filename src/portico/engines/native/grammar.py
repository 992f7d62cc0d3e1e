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

from portico.core.grammar import Grammar, Spelling, Vocabulary

if TYPE_CHECKING:
    from llguidance import LLExecutor, LLMatcher, LLTokenizer

# Compiled grammars that are kept for requests to come; each may hold some ten megabytes.
_NUM_KEPT = 16
_TOO_COMPLEX = "it is too complex to be followed further."
_DEAD_END = "no token of the model's vocabulary continues it."


class GrammarError(Exception):
    """A grammar cannot be followed; the message says why, as the second half of a sentence."""


class Constraint:
    """Follows one sequence.

    Attributes:
        problem: why it cannot go on; None while it can.
        is_complete: what was taken so far is a whole text of the grammar, whether or not it can go on.
    """

    def __init__(self, matcher: LLMatcher) -> None:
        self.matcher = matcher
        self.problem: str | None = None
        self.is_complete = bool(matcher.is_accepting())

    def fork(self) -> Constraint:
        """The same place in the grammar for another sequence."""
        return Constraint(self.matcher.deep_copy())

    @property
    def is_over(self) -> bool:
        """Whether the grammar allows nothing more; with the last character, or with a token that ends sequences."""
        return bool(self.matcher.is_stopped())

    def give_up(self) -> None:
        """Notes what the parser has failed of."""
        # Its word for a place that no token leads on from; everything else is of its bounds.
        is_dead_end = "NoExtensionBias" in self.matcher.get_error()
        self.problem = _DEAD_END if is_dead_end else _TOO_COMPLEX

    def advance(self, token_id: int) -> None:
        """Takes a drawn token.

        Raises:
            GrammarError: the grammar does not allow it, or its parser has failed.
        """
        if self.problem is None and not self.matcher.consume_token(token_id):
            self.give_up()
        if self.problem is not None:
            raise GrammarError(self.problem)
        # Asked now: a parser that has failed does not say.
        self.is_complete = bool(self.matcher.is_accepting())


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
            assert self._vocabulary is not None, "the vocabulary comes before the first grammar"
            self._tokenizer = build_tokenizer(self._vocabulary, self._vocab_size, self._eos_token_ids)
        limits = LLParserLimits(
            initial_lexer_fuel=400_000, max_lexer_states=20_000, precompute_large_lexemes=False, verbose_errors=False
        )
        matcher = LLMatcher(self._tokenizer, grammar.text, log_level=0, limits=limits)
        if matcher.is_error():
            raise GrammarError(f"it cannot be compiled: {' '.join(matcher.get_error().split()).rstrip('.')}.")
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
                constraint.problem = "it and the allowed tokens leave no token to draw."
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
                constraint.give_up()
                bits[index] = -1
        allowed = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")[:, : self._vocab_size]
        return torch.from_numpy(allowed.view(np.bool_))


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
    spelling: Any = Spelling(tokens, sorted(special), ends[0])
    return LLTokenizer(TokenizerWrapper(spelling), n_vocab=len(tokens), eos_token=ends)


def _agrees(made: LLTokenizer, tokens: list[bytes], special_ids: set[int]) -> bool:
    # The library marks special tokens with the byte 255, which is in no UTF-8, and so it cannot spell it.
    return all(
        made.decode_bytes([token_id]) == token and not made.is_special_token(token_id)
        for token_id, token in enumerate(tokens)
        if token and token_id not in special_ids and not token.startswith(b"\xff")
    )
