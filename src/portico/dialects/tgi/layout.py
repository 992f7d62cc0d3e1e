"""How an answer is laid out, and the parts that whole and streamed answers share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from portico.core.events import FinishReason, Token
from portico.core.request import GenerationRequest
from portico.dialects.tgi.schema import OutputToken


@dataclass(frozen=True, slots=True)
class Layout:
    """How an answer is laid out.

    Attributes:
        prefix: stands before the generated text.
        num_characters: length of the prompt.
        has_details: details are given.
        top_n_tokens: alternatives per token that are shown; 0 leaves them out.
        in_array: a whole answer stands in an array.
    """

    prefix: str
    num_characters: int
    has_details: bool
    top_n_tokens: int
    in_array: bool


def last_token(token: Token, rest: str) -> OutputToken:
    """The last token of a choice, with the `rest` of the text that the tokens before it have not shown.

    The text may end within the token, where a stop string does, so that the tokens' texts always join to the whole.
    """
    return OutputToken(token.id, token.text if token.special else rest, token.logprob, token.special)


def finish_reason(reason: FinishReason, stop: str | int | None) -> str:
    """TGI's word for why a choice ended; one that was broken off has none."""
    if reason is FinishReason.LENGTH:
        return "length"
    return "stop_sequence" if isinstance(stop, str) else "eos_token"


def reported_seed(request: GenerationRequest, seed: int) -> int | None:
    """The seed of drawn tokens; greedy ones have none."""
    return None if request.sampling.is_greedy else seed


def top_tokens(token: Token, count: int) -> list[OutputToken]:
    """The most likely tokens of a place; filters leave fewer than asked for."""
    return [
        OutputToken(each.id, each.text, each.logprob, each.special)
        for each in token.alternatives[:count]
        if each.logprob > -math.inf
    ]
