"""The scripted engine: every job's next events, once per step, from one task on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from portico.core.engine import TokenJob
from portico.core.errors import NotReady
from portico.core.model import EngineStats, ModelInfo
from portico.core.turns import Turns
from portico.engines.scripted.config import ScriptedConfig
from portico.engines.scripted.stream import ScriptedStream

_LOAD_STEPS = 10
# More steps than these are not made up for: a machine that slept is none that was busy.
_MAX_MISSED = 100
# Event loops round what is shorter to nothing.
_MIN_SLEEP = 0.001


class ScriptedEngine:
    """Implements `portico.core.engine.Engine`; `walk` has the rule that its tokens follow.

    All running sequences move together, as they do in a real engine: with a token delay, a job that comes during a step
    joins the next one, and steps that a busy event loop is late for are made up for. In `stats` a block is the place of
    one running sequence.
    """

    def __init__(self, config: ScriptedConfig) -> None:
        self._config = config
        self._info = ModelInfo(
            architecture="Scripted",
            dtype="none",
            device="cpu",
            vocab_size=config.vocab_size,
            max_model_len=config.max_model_len,
            eos_token_ids=(config.eos_token_id,),
            num_parameters=0,
        )
        # Dictionaries stand in for ordered sets: a stream in the middle of the queue can leave at once.
        self._waiting: dict[ScriptedStream, None] = {}
        self._running: dict[ScriptedStream, None] = {}
        self._turns = Turns()
        self._has_work = asyncio.Event()
        self._ticker: asyncio.Task[None] | None = None

    @property
    def info(self) -> ModelInfo:
        """The model that there is not."""
        return self._info

    @property
    def is_ready(self) -> bool:
        """Whether it was started and not closed."""
        return self._ticker is not None and not self._ticker.done()

    async def start(self, on_progress: Callable[[float], None]) -> None:
        """Takes the configured time, then runs."""
        assert self._ticker is None, "an engine is started once"
        for step in range(_LOAD_STEPS):
            on_progress(step / _LOAD_STEPS)
            await asyncio.sleep(self._config.load_delay / _LOAD_STEPS)
        on_progress(1.0)
        self._ticker = asyncio.create_task(self._run(), name="scripted engine")

    def generate(self, job: TokenJob) -> ScriptedStream:
        """Queues a job.

        Raises:
            NotReady: the engine was not started or is closed.
        """
        if not self.is_ready:
            raise NotReady("The engine is not running.")
        turn = self._turns.take(job.owner, job.num_sequences)
        stream = ScriptedStream(job, self._config, self._remove, turn)
        self._waiting[stream] = None
        self._has_work.set()
        return stream

    def stats(self) -> EngineStats:
        """The load right now."""
        num_running = self._num_running()
        return EngineStats(
            num_running=num_running,
            num_waiting=len(self._waiting),
            num_blocks=self._config.max_num_seqs,
            num_free_blocks=max(self._config.max_num_seqs - num_running, 0),
            num_preemptions=0,
        )

    async def close(self) -> None:
        """Fails what still runs or waits."""
        if self._ticker is None:
            return
        self._ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._ticker
        self._fail_all()

    async def _run(self) -> None:
        try:
            while True:
                if not self._running and not self._waiting:
                    self._has_work.clear()
                    await self._has_work.wait()
                begun_at = time.perf_counter()
                self._step(begun_at)
                pause = self._pause()
                await asyncio.sleep(max(pause, _MIN_SLEEP) if pause else 0)
                self._catch_up(begun_at)
        finally:
            self._fail_all()

    def _catch_up(self, begun_at: float) -> None:
        """Takes the steps that an engine with a processor of its own would have taken while the loop was busy."""
        delay = self._config.token_delay
        if delay:
            num_missed = int((time.perf_counter() - begun_at) / delay) - 1
            for step in range(1, 1 + min(num_missed, _MAX_MISSED)):
                self._step(begun_at + step * delay)

    def _step(self, now: float) -> None:
        self._admit(now)
        for stream in tuple(self._running):
            stream.step(now)
            if stream.is_over:
                self._remove(stream)

    def _admit(self, now: float) -> None:
        """Lets waiting jobs run in order of their turns; one that is wider than the limit runs alone."""
        if not self._waiting:
            return
        num_running = self._num_running()
        for stream in sorted(self._waiting, key=lambda each: each.turn):
            if num_running and num_running + stream.num_sequences > self._config.max_num_seqs:
                return
            num_running += stream.num_sequences
            del self._waiting[stream]
            self._running[stream] = None
            self._turns.begin(stream.turn)
            stream.admit(now)

    def _pause(self) -> float:
        """Time until the next step: a whole one when a sequence runs, else until the next prompt is evaluated."""
        if not self._running or not (self._config.token_delay or self._config.prefill_delay):
            return 0.0
        due = [stream.prefill_due for stream in self._running]
        pending = [each for each in due if each is not None]
        if len(pending) < len(due):
            return self._config.token_delay
        return max(min(pending) - time.perf_counter(), 0.0)

    def _num_running(self) -> int:
        return sum(stream.num_sequences for stream in self._running)

    def _remove(self, stream: ScriptedStream) -> None:
        self._waiting.pop(stream, None)
        self._running.pop(stream, None)

    def _fail_all(self) -> None:
        for stream in (*self._running, *self._waiting):
            stream.fail("The engine stopped while it worked on this request.")
