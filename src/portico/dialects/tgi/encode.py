"""Events and results to TGI's answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from portico.core.dialect import Reply
from portico.core.events import Choice, FinishReason, Result
from portico.core.request import GenerationRequest
from portico.dialects import wire
from portico.dialects.tgi import errors
from portico.dialects.tgi.layout import Layout, last_token, mean_logprob, reported_seed, top_tokens
from portico.dialects.tgi.schema import Answer, Details, OutputToken, PrefillToken, Sequence, TopTokens
from portico.dialects.tgi.stream import TokenStream


@dataclass(frozen=True, slots=True)
class TextExchange:
    """One request of a generating route and how it is answered."""

    request: GenerationRequest
    layout: Layout

    def reply(self, result: Result) -> Reply:
        """The best choice, with the others in its details; 500 when one was broken off."""
        if any(choice.reason is FinishReason.ABORT for choice in result.choices):
            return Reply(500, errors.incomplete("incomplete_generation"))
        best = max(result.choices, key=mean_logprob)
        answer = Answer(generated_text=self.layout.prefix + best.text)
        if self.layout.has_details:
            answer = Answer(generated_text=answer.generated_text, details=self._details(result, best))
        body = wire.encode_json([answer] if self.layout.in_array else answer)
        return Reply(200, body, headers=self._headers(result, best))

    def encoder(self) -> TokenStream:
        """A stream of tokens."""
        return TokenStream(self.request, self.layout)

    def _details(self, result: Result, best: Choice) -> Details:
        prefill = [PrefillToken(token.id, token.text, token.logprob) for token in result.prompts[0]]
        others = [self._sequence(choice, prefill) for choice in result.choices if choice is not best]
        return Details(
            finish_reason=self.layout.finish_reason(best.reason, best.stop, len(best.token_ids)),
            generated_tokens=len(best.token_ids),
            seed=reported_seed(self.request, best.seed),
            prefill=prefill,
            tokens=_output_tokens(best),
            best_of_sequences=others or msgspec.UNSET,
            top_tokens=self._top_tokens(best),
        )

    def _sequence(self, choice: Choice, prefill: list[PrefillToken]) -> Sequence:
        return Sequence(
            generated_text=self.layout.prefix + choice.text,
            finish_reason=self.layout.finish_reason(choice.reason, choice.stop, len(choice.token_ids)),
            generated_tokens=len(choice.token_ids),
            seed=reported_seed(self.request, choice.seed),
            prefill=prefill,
            tokens=_output_tokens(choice),
            top_tokens=self._top_tokens(choice),
        )

    def _top_tokens(self, choice: Choice) -> TopTokens | msgspec.UnsetType:
        if not self.layout.top_n_tokens:
            return msgspec.UNSET
        return [top_tokens(token, self.layout.top_n_tokens) for token in choice.tokens]

    def _headers(self, result: Result, best: Choice) -> Mapping[str, str]:
        timings = best.timings
        inference = timings.prefill + timings.decode
        total = result.preparation + timings.queue + inference
        num_tokens = len(best.token_ids)
        return {
            "x-compute-type": self.layout.profile.compute_type,
            "x-compute-characters": str(self.layout.num_characters),
            "x-compute-time": str(total),
            "x-total-time": _milliseconds(total),
            "x-validation-time": _milliseconds(result.preparation),
            "x-queue-time": _milliseconds(timings.queue),
            "x-inference-time": _milliseconds(inference),
            "x-time-per-token": _milliseconds(inference / max(num_tokens, 1)),
            "x-prompt-tokens": str(result.usage.num_prompt_tokens),
            "x-generated-tokens": str(num_tokens),
        }


def _output_tokens(choice: Choice) -> list[OutputToken]:
    tokens = [OutputToken(token.id, token.text, token.logprob, token.special) for token in choice.tokens]
    if tokens:
        num_shown = sum(len(token.text) for token in choice.tokens[:-1] if not token.special)
        tokens[-1] = last_token(choice.tokens[-1], choice.text[num_shown:])
    return tokens


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))
