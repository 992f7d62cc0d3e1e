"""The port to telemetry: what is told about requests while they run and when they end.

One record goes along with each request and is filled on the way; observers read it. No prompt and no output text is in
it. Reporting costs one call per step of a request, never one per token.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from portico.core.errors import Forbidden, NotReady, Overloaded, QuotaExceeded, RequestError
from portico.core.events import Delta, Event, Finished, FinishReason, Prefilled, Started
from portico.core.request import GenerationRequest


class Outcome(enum.Enum):
    """How a request ended: answered, refused before work began, broken off by an error, or left by its client."""

    ANSWERED = "answered"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class RequestRecord:
    """What is known of one request; times are of `time.perf_counter`, None while they have not come.

    Attributes:
        request_id: our own id, of which there are no two.
        dialect: the name of the dialect, or empty for a path that none serves.
        route: the path as the dialect declares it, never as it was asked for, so that there are few of them.
        received_at: the request was read.
        name: what its answer and logs call it: the client's own id where that is usable, else ours.
        trace_id: of the trace of several services that it belongs to; empty without one.
        tenant: the name of whose key it came with; empty without keys.
        model: the name in the answer; empty until the request is admitted.
        is_streamed: the answer is sent as it comes.
        num_choices: that were asked for, per prompt.
        max_tokens: output tokens that each may have; None is up to the end of the context.
        started_at: the request was admitted.
        first_token_at: the first output token came.
        last_token_at: the latest output token came.
        ended_at: the answer was sent or given up.
        num_prompt_tokens: of all prompts together.
        num_cached_tokens: prompt tokens that were not evaluated again.
        num_output_tokens: of all choices together.
        num_steps: reports that brought output tokens.
        queue_time: seconds in the engine's queue, of the choice that waited longest.
        prefill_time: seconds of evaluating the prompt, of the choice whose took longest.
        decode_time: seconds between its first token and its last, of the choice that took longest.
        finish_reasons: one per choice that ended, in the order they ended.
        status: of the HTTP answer; 0 while there is none.
        outcome: how it ended.
        error_kind: the class name of the error that ended it, or empty.
    """

    request_id: str
    dialect: str
    route: str
    received_at: float = field(default_factory=time.perf_counter)
    name: str = ""
    trace_id: str = ""
    tenant: str = ""
    model: str = ""
    is_streamed: bool = False
    num_choices: int = 1
    max_tokens: int | None = None
    started_at: float | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None
    ended_at: float | None = None
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    num_output_tokens: int = 0
    num_steps: int = 0
    queue_time: float | None = None
    prefill_time: float = 0.0
    decode_time: float = 0.0
    finish_reasons: list[FinishReason] = field(default_factory=list)
    status: int = 0
    outcome: Outcome = Outcome.ANSWERED
    error_kind: str = ""
    # Output tokens of the choices after the first, which is the only one mostly.
    _other_lengths: dict[int, int] = field(default_factory=dict)

    @property
    def longest_output(self) -> int:
        """Output tokens of the choice that has most."""
        others = self._other_lengths.values()
        return max(self.num_output_tokens - sum(others), *others, 0)

    def describe(self, request: GenerationRequest) -> None:
        """Notes what was asked for."""
        self.is_streamed = request.stream
        self.num_choices = request.output.num_choices
        self.max_tokens = request.stopping.max_tokens

    def observe(self, events: Sequence[Event], observer: Observer) -> None:
        """Takes what happened in one step of the request, and reports the step when it brought output tokens.

        Events that came together are given together: each call is one step to the observer.
        """
        now = time.perf_counter()
        num_tokens = 0
        for event in events:
            if isinstance(event, Delta):
                num_tokens += len(event.token_ids)
                if event.index:
                    self._other_lengths[event.index] = self._other_lengths.get(event.index, 0) + len(event.token_ids)
            else:
                self._take(event, now)
        if not num_tokens:
            return
        previous = self.last_token_at
        if previous is None:
            self.first_token_at = now
        self.last_token_at = now
        self.num_output_tokens += num_tokens
        self.num_steps += 1
        observer.on_step(self, num_tokens, None if previous is None else now - previous)

    def fail(self, error: Exception) -> None:
        """Notes the error that ended the request; it was refused if nothing was begun and the client can act on it."""
        is_refusal = isinstance(error, RequestError | QuotaExceeded | Overloaded | NotReady) and self.started_at is None
        self.outcome = Outcome.REFUSED if is_refusal else Outcome.FAILED
        self.error_kind = type(error).__name__
        if isinstance(error, Forbidden):
            self.tenant = error.tenant

    def cancel(self) -> None:
        """Notes that the client went away before the end."""
        self.outcome = Outcome.CANCELLED

    def end(self, status: int, observer: EndObserver) -> None:
        """Closes the record and reports it; called once, last."""
        self.status = status
        self.ended_at = time.perf_counter()
        observer.on_end(self)

    def _take(self, event: Started | Prefilled | Finished, now: float) -> None:
        match event:
            case Started():
                self.started_at = now
                self.model = event.model
                self.num_prompt_tokens = sum(event.num_prompt_tokens)
            case Prefilled():
                self.num_cached_tokens += event.num_cached_tokens
            case Finished():
                self.finish_reasons.append(event.reason)
                self.queue_time = max(self.queue_time or 0.0, event.timings.queue)
                self.prefill_time = max(self.prefill_time, event.timings.prefill)
                self.decode_time = max(self.decode_time, event.timings.decode)


class EndObserver(Protocol):
    """Is told of requests that are over. It must be quick and must not raise: it runs on the way of every answer."""

    def on_end(self, record: RequestRecord) -> None:
        """The request is over; the record changes no more."""


@runtime_checkable
class Observer(EndObserver, Protocol):
    """Is told of the steps of requests as well."""

    def on_step(self, record: RequestRecord, num_tokens: int, interval: float | None) -> None:
        """New output tokens came, `interval` seconds after the previous ones of the request (None: the first)."""


class Observers:
    """Several observers as one; with none, it observes nothing."""

    def __init__(self, *observers: EndObserver) -> None:
        self._observers = observers
        self._step_observers = tuple(each for each in observers if isinstance(each, Observer))

    def on_step(self, record: RequestRecord, num_tokens: int, interval: float | None) -> None:
        """Tells every observer that wants to know of steps."""
        for observer in self._step_observers:
            observer.on_step(record, num_tokens, interval)

    def on_end(self, record: RequestRecord) -> None:
        """Tells every observer."""
        for observer in self._observers:
            observer.on_end(record)
