"""Whether any text of a grammar can be written with the tokens that a request may draw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from portico.core.errors import InvalidGrammar
from portico.core.grammar import Grammar, Spelling
from portico.text.grammar import make_matcher

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

# How many beginnings of a text are tried; with more of them there may be one that leads on.
_NUM_TRIED = 64
# The compiler's word for a place that no token leads on from.
_DEAD_END = "NoExtensionBias"


def check_writable(grammar: Grammar, tokens: Iterable[bytes]) -> None:
    """Checks that a whole text can be written with the given tokens, as far as a few beginnings tell.

    Args:
        grammar: what `prepare_grammar` gives; its kind is that of the client's demand, for the message.
        tokens: the bytes of every token that may be drawn; empty ones are nothing.

    Raises:
        InvalidGrammar: whatever text is begun, none of the tokens leads on before it is complete. What contradicts only
            later is found while the text is generated.
    """
    waiting = [make_matcher(_vocabulary(tokens), grammar.text)]
    num_left = _NUM_TRIED
    while waiting:
        matcher = waiting.pop()
        if matcher.is_accepting():
            return
        allowed = list(islice(_allowed(matcher), num_left + 1))
        num_left -= 1 + len(allowed)
        if num_left < 0 or (matcher.is_error() and _DEAD_END not in matcher.get_error()):
            return
        for token_id in allowed:
            following = matcher.deep_copy()
            if following.consume_token(token_id):
                waiting.append(following)
    reason = "no text of it can be written with the tokens that may be drawn."
    raise InvalidGrammar(grammar.name, grammar.kind.value, reason)


def _vocabulary(tokens: Iterable[bytes]) -> LLTokenizer:
    from llguidance import LLTokenizer
    from llguidance._tokenizer import TokenizerWrapper

    # Behind one that ends a text.
    spelling: Any = Spelling([b"<|end|>", *tokens], [0], 0)
    return LLTokenizer(TokenizerWrapper(spelling), eos_token=0)


def _allowed(matcher: LLMatcher) -> Iterator[int]:
    """The tokens that may come next, without the one that ends a text."""
    mask = int.from_bytes(matcher.compute_bitmask(), "little") & ~1
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
