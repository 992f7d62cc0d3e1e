"""Requests to events: the one path that every dialect and every engine shares."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace

from portico.core.engine import (
    Engine,
    PromptPrefilled,
    SequenceFinished,
    TokenEvent,
    TokenJob,
    TokenStream,
)
from portico.core.errors import NotReady, PorticoError, UnsupportedParameter
from portico.core.events import Event, Prefilled, Started, Timings, Token
from portico.core.model import ServedModel
from portico.core.request import GenerationRequest
from portico.core.tenant import ANONYMOUS, Tenant
from portico.service.admission import Admission
from portico.service.choice import ChoiceText, TokenReader
from portico.service.clocks import Clocks, TimeLimits
from portico.service.merge import merge
from portico.service.preparation import Preparation
from portico.service.quota import Quotas
from portico.service.stoppable import Stoppable
from portico.text.answer_format import PLAIN, AnswerFormat
from portico.text.detokenizer import Detokenizer
from portico.text.tokenizer import Tokenizer

# Tokens of prompts and alternatives to them that are described in a thread if there are so many.
_MANY_DESCRIBED = 2048


class GenerationService:
    """Answers requests with one model."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        preparation: Preparation,
        served: ServedModel,
        admission: Admission,
        answer_format: AnswerFormat = PLAIN,
        time_limits: TimeLimits | None = None,
        quotas: Quotas | None = None,
    ) -> None:
        self._quotas = quotas or Quotas()
        self._engine = engine
        self._tokenizer = tokenizer
        self._preparation = preparation
        self._served = served
        self._admission = admission
        self._answer_format = answer_format
        self._time_limits = time_limits or TimeLimits()
        self._stoppable = Stoppable()
        self._running: set[_Answer] = set()
        self._broken_off: PorticoError | None = None

    async def generate(
        self, request: GenerationRequest, tenant: Tenant = ANONYMOUS
    ) -> AsyncGenerator[Sequence[Event], None]:
        """The events of a request, in batches of what happened at the same time.

        The first batch is `Started` alone, given as soon as the request is checked and let in; an error before it
        means that nothing was begun. Closing the generator aborts the request.

        Raises:
            RequestError: the request cannot be served as it is.
            QuotaExceeded: the tenant has used its share.
            Overloaded: too many requests wait.
            NotReady: the engine takes no requests now.
            GrammarExhausted: an output cannot go on within its grammar; what was given before stands.
            EngineFailure: the engine failed; what was given before stands.
            TimedOut: one of the times of the request is over; what was given before stands.
        """
        received_at = time.perf_counter()
        self._served.require(request.model)
        if not self._answer_format.can_read(request.output.markup):
            raise UnsupportedParameter(
                "tools",
                "`tools` cannot be used: it is not known how this model writes calls, and the server was started "
                "without --tool-call-parser.",
            )
        if not self._engine.is_ready:
            raise NotReady("The model is not ready to serve; it is being loaded.")
        with self._admission.admit(request.num_choices, tenant.name), self._quotas.admit(tenant) as usage:
            jobs = await self._prepare(_isolated(request, tenant))
            if self._broken_off is not None:
                # Without the ways of the requests before: they would all be kept.
                raise self._broken_off.with_traceback(None)
            usage.charge_prompt(sum(len(job.token_ids) for job in jobs))
            started_at = time.perf_counter()
            streams = self._start(jobs, tenant)
            answer = _Answer(request, jobs, streams, self._tokenizer, self._answer_format, started_at)
            async with aclosing(merge(streams)) as steps:
                with self._watch(answer, request, tenant, received_at) as clocks:
                    counts = tuple(len(job.token_ids) for job in jobs)
                    yield [Started(self._served.name, counts, started_at - received_at)]
                    clocks.resume()
                    async for position, token_events in steps:
                        if answer.has_much_to_describe:
                            clocks.pause()
                            await answer.describe_in_thread(position, token_events)
                        events = answer.feed(position, token_events)
                        usage.num_output_tokens = answer.num_output_tokens
                        if events:
                            clocks.pause()
                            yield events
                        clocks.resume()
                if stopped := answer.end():
                    yield stopped

    def stop(self, client_id: str, tenant: Tenant = ANONYMOUS) -> bool:
        """Ends the tenant's requests of that name where they are, as aborted; whether there was one."""
        return self._stoppable.stop(tenant.name, client_id)

    def break_off(self, error: PorticoError) -> None:
        """Ends all requests where they are with an error, and begins no more."""
        self._broken_off = error
        for answer in tuple(self._running):
            answer.break_off(error)

    @contextmanager
    def _watch(
        self, answer: _Answer, request: GenerationRequest, tenant: Tenant, received_at: float
    ) -> Iterator[Clocks]:
        """Lets an answer be stopped by its name, and broken off by its clocks or with all others, in the block."""
        limits = self._time_limits.shortened(request.timeout)
        clocks = Clocks(limits, received_at, answer.streams, answer.break_off)
        self._running.add(answer)
        try:
            with self._stoppable.hold(tenant.name, request.client_id, answer.stop):
                yield clocks
        finally:
            self._running.discard(answer)
            clocks.close()

    async def _prepare(self, request: GenerationRequest) -> list[TokenJob]:
        if self._preparation.takes_long(request.prompts, request.sampling.grammar, request.banned_words):
            return await asyncio.to_thread(self._preparation.prepare, request, self._engine.info)
        return self._preparation.prepare(request, self._engine.info)

    def _start(self, jobs: list[TokenJob], tenant: Tenant) -> list[TokenStream]:
        """Queues all jobs; `generate` of an engine fails for all of them or for none."""
        if tenant.name:
            jobs = [replace(job, owner=tenant.name) for job in jobs]
        return [self._engine.generate(job) for job in jobs]


def _isolated(request: GenerationRequest, tenant: Tenant) -> GenerationRequest:
    """With the tenant's salt before the client's own, which divides what is the tenant's and opens nothing."""
    if not tenant.cache_salt:
        return request
    return replace(request, cache_salt=f"{tenant.cache_salt}/{request.cache_salt}")


class _Answer:
    """The choices of one request while they are written."""

    def __init__(
        self,
        request: GenerationRequest,
        jobs: Sequence[TokenJob],
        streams: Sequence[TokenStream],
        tokenizer: Tokenizer,
        answer_format: AnswerFormat,
        started_at: float,
    ) -> None:
        self.streams = streams
        self.num_output_tokens = 0
        self._jobs = jobs
        self._error: PorticoError | None = None
        self._tokenizer = tokenizer
        self._num_choices = request.output.num_choices
        self._shows_prompt = request.output.prompt_details
        # What was made of prompts in a thread, until it is told.
        self._described: dict[int, tuple[Token, ...]] = {}
        self.has_much_to_describe = request.output.describes_prompts and (
            sum(len(job.token_ids) for job in jobs) * (1 + (request.output.prompt_logprobs or 0)) >= _MANY_DESCRIBED
        )
        self._choices = [
            ChoiceText(request, tokenizer, jobs[index // self._num_choices], index, answer_format)
            for index in range(request.num_choices)
        ]
        # What the engine has told of each prompt, and when, for choices that end before it tells more.
        self._prefilled = [Timings(0.0, 0.0, 0.0)] * len(jobs)
        self._prefilled_at = [started_at] * len(jobs)

    async def describe_in_thread(self, position: int, token_events: Sequence[TokenEvent]) -> None:
        """Makes what `feed` will tell of the prompt at `position`, if the events say that it was evaluated."""
        for event in token_events:
            if isinstance(event, PromptPrefilled):
                self._described[position] = await asyncio.to_thread(self._describe_prompt, position, event)

    def feed(self, position: int, token_events: Sequence[TokenEvent]) -> list[Event]:
        """What engine events of the prompt at `position` mean."""
        events: list[Event] = []
        for event in token_events:
            if isinstance(event, PromptPrefilled):
                events.append(self._note_prefilled(position, event))
                continue
            choice = self._choices[position * self._num_choices + event.index]
            if choice.is_finished:
                continue
            if isinstance(event, SequenceFinished):
                events += choice.finish(event)
                continue
            self.num_output_tokens += len(event.token_ids)
            events += choice.feed(event)
            if choice.is_stopped:
                events.append(choice.stop(self._timings(position)))
                self.streams[position].finish(event.index)
        return events

    def stop(self) -> None:
        """Ends all sequences; the streams end then."""
        for stream in self.streams:
            for index in range(self._num_choices):
                stream.finish(index)

    def break_off(self, error: PorticoError) -> None:
        """Ends all sequences; what they lack is told by the error."""
        self._error = self._error or error
        self.stop()

    def end(self) -> list[Event]:
        """The end of choices that were stopped.

        Raises:
            PorticoError: it was broken off before all of them had ended.
        """
        if self._error is not None and not all(choice.is_finished for choice in self._choices):
            try:
                raise self._error.with_traceback(None)
            finally:
                # It holds this frame, which holds this answer.
                self._error = None
        events: list[Event] = []
        for index, choice in enumerate(self._choices):
            if not choice.is_finished:
                events += choice.abort(self._timings(index // self._num_choices))
        return events

    def _timings(self, position: int) -> Timings:
        return replace(self._prefilled[position], decode=time.perf_counter() - self._prefilled_at[position])

    def _note_prefilled(self, position: int, event: PromptPrefilled) -> Prefilled:
        self._prefilled[position] = Timings(event.queue_seconds, event.prefill_seconds, 0.0)
        self._prefilled_at[position] = time.perf_counter()
        tokens = self._described.pop(position, None)
        if tokens is None:
            tokens = self._describe_prompt(position, event)
        return Prefilled(position, event.num_cached_tokens, tokens)

    def _describe_prompt(self, position: int, event: PromptPrefilled) -> tuple[Token, ...]:
        if not event.logprobs and not self._shows_prompt:
            return ()
        reader = TokenReader(self._tokenizer)
        detokenizer = Detokenizer(self._tokenizer, skip_special_tokens=False)
        token_ids = self._jobs[position].token_ids
        places = event.logprobs or (None,) * len(token_ids)
        return tuple(
            reader.describe(token_id, detokenizer.feed(token_id), logprobs)
            for token_id, logprobs in zip(token_ids, places, strict=True)
        )
