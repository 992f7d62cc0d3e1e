"""How an answer is laid out, and the parts that whole and streamed answers share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from portico.core.events import Choice, FinishReason, Token
from portico.core.request import GenerationRequest
from portico.dialects.tgi.profile import Profile
from portico.dialects.tgi.schema import OutputToken


@dataclass(frozen=True, slots=True)
class Layout:
    """How an answer is laid out.

    Attributes:
        profile: the flavour of the dialect.
        prefix: stands before the generated text.
        num_characters: length of the prompt.
        has_details: details are given.
        top_n_tokens: alternatives per token that are shown; 0 leaves them out.
        in_array: a whole answer stands in an array.
        max_new_tokens: output tokens that were asked for; None is as many as fit.
    """

    profile: Profile
    prefix: str
    num_characters: int
    has_details: bool
    top_n_tokens: int
    in_array: bool
    max_new_tokens: int | None

    def finish_reason(self, reason: FinishReason, stop: str | int | None, num_tokens: int) -> str:
        """TGI's word for why a choice of so many tokens ended; one that was broken off has none."""
        return ended_by(self.profile, self.max_new_tokens, reason, stop, num_tokens)


def ended_by(
    profile: Profile, max_new_tokens: int | None, reason: FinishReason, stop: str | int | None, num_tokens: int
) -> str:
    """TGI's word for why a choice ended, of so many tokens of those that were asked for."""
    if reason is FinishReason.LENGTH or (profile.length_wins and num_tokens == max_new_tokens):
        return "length"
    return "stop_sequence" if isinstance(stop, str) else "eos_token"


def last_token(token: Token, rest: str) -> OutputToken:
    """The last token of a choice, with the `rest` of the text that the tokens before it have not shown.

    The text may end within the token, where a stop string does, so that the tokens' texts always join to the whole.
    """
    return OutputToken(token.id, token.text if token.special else rest, token.logprob, token.special)


def mean_logprob(choice: Choice) -> float:
    """What the best of several choices is found by."""
    return sum(token.logprob or 0.0 for token in choice.tokens) / max(len(choice.tokens), 1)


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
