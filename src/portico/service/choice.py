"""The text of one choice, from its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from portico.core.engine import SequenceFinished, TokenJob, TokenLogprobs, TokensGenerated
from portico.core.events import Alternative, Delta, Event, Finished, FinishReason, Timings, Token
from portico.core.request import ChatPrompt, GenerationRequest, Markup
from portico.service.parts import ChoiceParts
from portico.text.answer_format import AnswerFormat
from portico.text.detokenizer import Detokenizer
from portico.text.reasoning import PROMPT_END
from portico.text.stop import StopStrings
from portico.text.tokenizer import Tokenizer


class TokenReader:
    """Describes tokens with their text and log-probabilities."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def describe(self, token_id: int, text: str, logprobs: TokenLogprobs | None) -> Token:
        """A token whose place in the text reads `text`; a control token reads as it is written."""
        raw = self._tokenizer.raw(token_id)
        special = token_id in self._tokenizer.special_ids
        if special:
            text = raw.decode("utf-8", "replace")
        if logprobs is None:
            return Token(token_id, text, raw, special, None, ())
        alternatives = tuple(map(self._describe_alternative, logprobs.best)) if logprobs.best else ()
        return Token(token_id, text, raw, special, logprobs.logprob, alternatives, logprobs.rank)

    def _describe_alternative(self, best: tuple[int, float]) -> Alternative:
        token_id, logprob = best
        raw = self._tokenizer.raw(token_id)
        return Alternative(
            token_id, raw.decode("utf-8", "replace"), raw, logprob, token_id in self._tokenizer.special_ids
        )


class ChoiceText:
    """Follows one sequence of the engine and gives the events of the choice that it is.

    A stop string, or the one call that a request allows, ends the choice before the engine knows: `is_stopped` says so
    (and `is_finished`, as for every end), and the sequence must then be finished early.
    """

    def __init__(
        self,
        request: GenerationRequest,
        tokenizer: Tokenizer,
        job: TokenJob,
        index: int,
        answer_format: AnswerFormat,
    ) -> None:
        stopping = request.stopping
        self._index = index
        self._stopping = stopping
        self._stop_token_ids = job.stop_token_ids
        self._seed = (job.sampling.seed or 0) + index % request.output.num_choices
        self._wants_tokens = request.output.token_details
        markup = request.output.markup
        if job.sampling.grammar is not None:
            # A grammar is for the whole text, which therefore holds no reasoning.
            markup = replace(markup, has_reasoning=False)
        markers = (tokenizer.find_special(each) for each in answer_format.markers(markup))
        self._detokenizer = Detokenizer(
            tokenizer,
            request.output.skip_special_tokens,
            follows=job.token_ids[-1],
            shown=frozenset(each for each in markers if each is not None),
        )
        reader = answer_format.reader(markup, _find_tools(request, markup), partial(_read_end, tokenizer, job))
        ends_with_call = not markup.has_parallel_calls
        self._parts = None if reader is None else ChoiceParts(reader, request.request_id, index, ends_with_call)
        self._stop_strings = StopStrings(stopping.stop, stopping.include_stop, stopping.stop_at_token_end)
        self._special_stops = {tokenizer.find_special(stop): stop for stop in stopping.stop}
        self._reader = TokenReader(tokenizer)
        self._num_tokens = 0
        self._matched: str | None = None
        self.is_finished = False
        self.is_stopped = False
        # Most choices: nothing is looked for in the text, so each token is only detokenised.
        self._is_plain = self._parts is None and not stopping.stop and not self._wants_tokens

    def feed(self, event: TokensGenerated) -> list[Event]:
        """New tokens: what they add. When they end the choice, `stop` gives its end."""
        if self._is_plain:
            ids = event.token_ids
            text = self._detokenize(ids[0]) if len(ids) == 1 else "".join(map(self._detokenize, ids))
            return [Delta(self._index, text, ids, ())]
        text, token_ids, tokens = "", [], []
        parts = self._parts
        matched: str | None = None
        is_over = False
        for position, token_id in enumerate(event.token_ids):
            self._num_tokens += 1
            piece = self._detokenize(token_id)
            visible, matched = self._stop_strings.feed(piece, self._num_tokens > self._stopping.min_tokens)
            if parts is None:
                text += visible
            else:
                parts.feed(visible)
            token_ids.append(token_id)
            if self._wants_tokens:
                logprobs = event.logprobs[position] if event.logprobs else None
                tokens.append(self._reader.describe(token_id, piece, logprobs))
            is_over = matched is not None or (parts is not None and parts.is_ended)
            if is_over:
                break
        self.is_finished = self.is_stopped = is_over
        self._matched = matched
        return self._deltas(text, tuple(token_ids), tuple(tokens), is_over)

    def stop(self, timings: Timings) -> Finished:
        """The end of a choice that its own tokens have ended."""
        return Finished(self._index, FinishReason.STOP, self._matched, self._seed, timings)

    def finish(self, event: SequenceFinished) -> list[Event]:
        """The engine has ended the sequence: the text that was held back, and the end."""
        self.is_finished = True
        visible, matched = self._stop_strings.feed(
            self._detokenizer.flush(), self._num_tokens > self._stopping.min_tokens
        )
        text = visible if matched is not None else visible + self._stop_strings.flush()
        events = self._deltas(text, (), (), is_over=True)
        stop = matched if matched is not None else self._told_stop(event.stop_token_id)
        reason = FinishReason.STOP if matched is not None else event.reason
        events.append(Finished(self._index, reason, stop, self._seed, event.timings))
        return events

    def abort(self, timings: Timings) -> list[Event]:
        """The choice is stopped from outside: the text that was held back, and the end."""
        self.is_finished = True
        text = self._detokenizer.flush()
        visible, _ = self._stop_strings.feed(text, is_armed=False)
        text = visible + self._stop_strings.flush()
        events = self._deltas(text, (), (), is_over=True)
        return [*events, Finished(self._index, FinishReason.ABORT, None, self._seed, timings)]

    def _deltas(self, text: str, token_ids: tuple[int, ...], tokens: tuple[Token, ...], is_over: bool) -> list[Event]:
        """What is new, in the order of the text; nothing is held back once the choice is over."""
        if self._parts is None:
            return [Delta(self._index, text, token_ids, tokens)] if text or token_ids else []
        if is_over:
            self._parts.flush(text)
        return list(self._parts.take(token_ids, tokens))

    def _detokenize(self, token_id: int) -> str:
        """A token that ends the sequence is not part of the text, unless it was asked to stay."""
        if token_id in self._stop_token_ids and not self._stopping.include_stop:
            return self._detokenizer.flush()
        return self._detokenizer.feed(token_id)

    def _told_stop(self, stop_token_id: int | None) -> str | int | None:
        """What the client asked to stop at; None for the model's own end of sequence."""
        if stop_token_id in self._special_stops:
            return self._special_stops[stop_token_id]
        return stop_token_id if stop_token_id in self._stopping.stop_token_ids else None


def _read_end(tokenizer: Tokenizer, job: TokenJob) -> str:
    """The end of the prompt, where a template may have begun the answer already."""
    return tokenizer.decode(job.token_ids[-PROMPT_END:], skip_special_tokens=False)


def _find_tools(request: GenerationRequest, markup: Markup) -> dict[str, Mapping[str, Any]]:
    """The tools that may be called, with the schemas of their parameters as far as the prompts tell."""
    tools: dict[str, Mapping[str, Any]] = {name: {} for name in markup.tool_names}
    for prompt in request.prompts if tools else ():
        for tool in prompt.tools if isinstance(prompt, ChatPrompt) else ():
            function = tool["function"]
            if function["name"] in tools:
                tools[function["name"]] = function.get("parameters") or {}
    return tools
