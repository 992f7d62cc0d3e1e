"""One job of the scripted engine: its sequences, and the events that wait for its reader."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence

from portico.core.engine import PromptPrefilled, SequenceFinished, TokenEvent, TokenJob, TokenLogprobs, TokensGenerated
from portico.core.errors import EngineFailure
from portico.core.events import FinishReason, Timings
from portico.engines.scripted.config import ScriptedConfig
from portico.engines.scripted.restriction import Restriction
from portico.engines.scripted.walk import Walk, place_logprobs, prompt_logprobs, prompt_state


class ScriptedStream:
    """The engine moves it with `admit`, `step` and `fail`; the other methods are the reader's."""

    def __init__(self, job: TokenJob, config: ScriptedConfig, on_closed: Callable[[ScriptedStream], None]) -> None:
        self.num_displacements = 0
        self._job = job
        self._config = config
        self._tokens_per_step = config.tokens_per_step
        self._on_closed = on_closed
        self._fails_at = config.failure_point(job.token_ids)
        seed = random.getrandbits(32) if job.sampling.seed is None else job.sampling.seed
        self._seeds = [seed + index for index in range(job.num_sequences)]
        self._live: dict[int, Walk] = {}
        self._open = set(range(job.num_sequences))
        self._events: list[TokenEvent] = []
        self._failure: EngineFailure | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._queued_at = time.perf_counter()
        self._admitted_at: float | None = None
        self._evaluated_at = 0.0
        self._prefilled_at: float | None = None

    @property
    def num_sequences(self) -> int:
        """Sequences that run, or will once admitted."""
        return len(self._open)

    @property
    def num_prompt_tokens(self) -> int:
        """Length of the prompt."""
        return len(self._job.token_ids)

    @property
    def owner(self) -> str:
        """Whose share it counts against."""
        return self._job.owner

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return not self._open

    def due(self, now: float) -> float | None:
        """When the prompt will have been evaluated; None once it has been."""
        return self._evaluated_at if self._prefilled_at is None or now < self._evaluated_at else None

    @property
    def scheduled_at(self) -> float | None:
        """When the job left the queue for the first time; see `TokenStream`."""
        return self._admitted_at

    def admit(self, now: float) -> None:
        """The job leaves the queue, and its prompt is evaluated: again, if it was sent back there."""
        self._evaluated_at = now + self._config.prefill_delay
        if self._admitted_at is None:
            self._admitted_at = now

    def step(self, now: float) -> int:
        """One step of every sequence, the first one with the prompt; gives the number of new tokens."""
        if now < self._evaluated_at:
            return 0
        if self._prefilled_at is None:
            self._prefill(now)
        num_tokens = 0
        for index, walk in tuple(self._live.items()):
            num_before = walk.num_tokens
            self._advance(index, walk)
            num_tokens += walk.num_tokens - num_before
            if self._failure is not None:
                break
        if self._waiter is not None:
            self._notify()
        return num_tokens

    def fail(self, message: str) -> None:
        """Ends the job with a failure, which the reader meets after the events before it."""
        if self._open:
            self._failure = EngineFailure(message)
            self._drop()

    def __aiter__(self) -> ScriptedStream:
        return self

    async def __anext__(self) -> Sequence[TokenEvent]:
        while not self._events:
            if self._failure is not None:
                try:
                    raise self._failure
                finally:
                    # It holds this frame, which holds this stream.
                    self._failure = None
            if not self._open:
                raise StopAsyncIteration
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        events, self._events = self._events, []
        return events

    def finish(self, index: int) -> None:
        """Ends one sequence early; what it has not been read of is dropped."""
        self._live.pop(index, None)
        self._open.discard(index)
        self._events = [event for event in self._events if isinstance(event, PromptPrefilled) or event.index != index]
        if not self._open:
            self._drop()

    async def aclose(self) -> None:
        """Aborts what still runs and drops what has not been read."""
        self._events.clear()
        self._failure = None
        self._drop()

    def _prefill(self, now: float) -> None:
        job, config = self._job, self._config
        assert self._admitted_at is not None
        self._prefilled_at = now
        places: tuple[TokenLogprobs | None, ...] = ()
        if job.prompt_logprobs is not None:
            places = prompt_logprobs(job.token_ids, job.prompt_logprobs, config.vocab_size)
        self._events.append(PromptPrefilled(0, places, self._admitted_at - self._queued_at, now - self._admitted_at))
        script = (*config.script, config.eos_token_id) if config.script else ()
        state = prompt_state(job.token_ids)
        for index in sorted(self._open):
            seed = None if job.sampling.is_greedy else self._seeds[index]
            self._live[index] = Walk(state, seed, script, config.vocab_size, Restriction.of(job))
            if job.max_tokens == 0:
                self._end(index, FinishReason.LENGTH, None)

    def _advance(self, index: int, walk: Walk) -> None:
        job = self._job
        token_ids: list[int] = []
        logprobs: list[TokenLogprobs] = []
        reason: FinishReason | None = None
        while walk.num_tokens != self._fails_at:
            token_id, best_id = walk.draw()
            token_ids.append(token_id)
            if job.logprobs is not None:
                logprobs.append(place_logprobs(best_id, token_id, job.logprobs, self._config.vocab_size))
            if token_id in job.stop_token_ids:
                reason = FinishReason.STOP
            elif walk.num_tokens >= job.max_tokens:
                reason = FinishReason.LENGTH
            if reason is not None or len(token_ids) >= self._tokens_per_step:
                break
        if token_ids:
            self._events.append(TokensGenerated(index, tuple(token_ids), tuple(logprobs)))
        if reason is not None:
            self._end(index, reason, token_ids[-1] if reason is FinishReason.STOP else None)
        elif walk.num_tokens == self._fails_at:
            self.fail(f"The scripted engine failed after {walk.num_tokens} tokens, as it was configured to.")

    def _end(self, index: int, reason: FinishReason, stop_token_id: int | None) -> None:
        assert self._prefilled_at is not None
        assert self._admitted_at is not None
        timings = Timings(
            queue=self._admitted_at - self._queued_at,
            prefill=self._prefilled_at - self._admitted_at,
            decode=time.perf_counter() - self._prefilled_at,
        )
        self._events.append(SequenceFinished(index, reason, stop_token_id, self._seeds[index], timings))
        del self._live[index]
        self._open.discard(index)

    def _drop(self) -> None:
        self._live.clear()
        self._open.clear()
        self._on_closed(self)
        self._notify()

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
