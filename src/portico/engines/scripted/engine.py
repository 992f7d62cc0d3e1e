"""The scripted engine: every job's next events, once per step, from one task on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable

from portico.core.engine import TokenJob
from portico.core.errors import NotReady
from portico.core.fair_queue import FairQueue
from portico.core.model import EngineStats, ModelInfo
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
    one running sequence. A job that makes way for another owner's waits for its prompt again when it goes on.
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
            reads_prompts=False,
        )
        self._waiting: FairQueue[ScriptedStream] = FairQueue()
        # A dictionary stands in for an ordered set.
        self._running: dict[ScriptedStream, None] = {}
        self._num_preemptions = 0
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
        stream = ScriptedStream(job, self._config, self._remove)
        self._waiting.append(stream.owner, stream)
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
            num_preemptions=self._num_preemptions,
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
            self._waiting.charge(stream.owner, num_output_tokens=stream.step(now))
            if stream.is_over:
                self._remove(stream)

    def _admit(self, now: float) -> None:
        """Lets waiting jobs run while there are places; one that is wider than the limit runs alone."""
        while self._waiting:
            stream = self._waiting.first()
            num_running = self._num_running()
            num_lacking = num_running + stream.num_sequences - self._config.max_num_seqs
            if num_running and num_lacking > 0 and not self._make_way(stream.owner, num_lacking):
                return
            self._waiting.remove(stream.owner, stream)
            self._running[stream] = None
            if stream.scheduled_at is None:
                self._waiting.charge(stream.owner, num_prompt_tokens=stream.num_prompt_tokens)
            stream.admit(now)

    def _make_way(self, owner: str, num_places: int) -> bool:
        """Sends running jobs of others back into the queue, if they should make way for this owner; see `FairQueue`."""
        held: Counter[str] = Counter()
        for stream in self._running:
            held[stream.owner] += stream.num_sequences
        victims: list[ScriptedStream] = []
        while num_places > 0:
            donor = self._waiting.donor(owner, held)
            # Of jobs with several sequences all must go: not if nothing is left to the donor then.
            able = [
                each
                for each in reversed(self._running)
                if each.owner == donor and each not in victims and each.num_sequences < held[each.owner]
            ]
            if not able:
                return False
            victim = min(able, key=lambda each: each.num_displacements)
            victims.append(victim)
            held[victim.owner] -= victim.num_sequences
            num_places -= victim.num_sequences
        for victim in victims:
            del self._running[victim]
            victim.num_displacements += 1
            self._num_preemptions += 1
            self._waiting.put_back(victim.owner, victim)
        return True

    def _pause(self) -> float:
        """Time until the next step: a whole one when a sequence runs, else until the next prompt is evaluated."""
        if not self._running or not (self._config.token_delay or self._config.prefill_delay):
            return 0.0
        now = time.perf_counter()
        due = [stream.due(now) for stream in self._running]
        pending = [each for each in due if each is not None]
        if len(pending) < len(due):
            return self._config.token_delay
        return max(min(pending) - now, 0.0)

    def _num_running(self) -> int:
        return sum(stream.num_sequences for stream in self._running)

    def _remove(self, stream: ScriptedStream) -> None:
        if stream in self._running:
            del self._running[stream]
        elif stream in self._waiting:
            self._waiting.remove(stream.owner, stream)

    def _fail_all(self) -> None:
        for stream in (*self._running, *self._waiting):
            stream.fail("The engine stopped while it worked on this request.")
