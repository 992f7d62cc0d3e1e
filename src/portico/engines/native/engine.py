"""The asynchronous face of the native engine. Never imports torch: the model lives in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from portico.core.engine import EngineStartError, TokenJob, TokensGenerated
from portico.core.errors import EngineFailure, GrammarExhausted, NotReady, PorticoError
from portico.core.grammar import Vocabulary
from portico.core.model import EngineMemory, EngineStats, ModelInfo
from portico.core.process_memory import peak_resident_bytes
from portico.engines.native import heartbeat
from portico.engines.native.config import NativeConfig
from portico.engines.native.messages import (
    Abort,
    AddJob,
    Failure,
    FromWorker,
    LoadFailed,
    LoadProgress,
    Ready,
    Scheduled,
    StepDone,
    UseVocabulary,
)
from portico.engines.native.process import WorkerProcess
from portico.engines.native.stream import NativeStream

_FIRST_DELAY = 0.5
_LAST_DELAY = 30.0
_STABLE_AFTER = 60.0

_logger = logging.getLogger(__name__)


class NativeEngine:
    """An `Engine` over a worker process that is started again whenever it dies."""

    def __init__(
        self, path: Path, config: NativeConfig, get_vocabulary: Callable[[], Vocabulary] | None = None
    ) -> None:
        """`get_vocabulary` gives what grammars need, once the first one comes; without it none are taken."""
        self._path = path
        self._config = config
        self._get_vocabulary = get_vocabulary
        self._worker_has_vocabulary = False
        self._info: ModelInfo | None = None
        self._stats = EngineStats(0, 0, 0, 0, 0)
        self._memory: EngineMemory | None = None
        self._num_restarts = 0
        self._is_ready = False
        self._handles = itertools.count()
        self._streams: dict[int, NativeStream] = {}
        self._worker: WorkerProcess | None = None
        self._exited = asyncio.Event()
        self._loaded: asyncio.Future[Ready] | None = None
        self._on_progress: Callable[[float], None] | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def info(self) -> ModelInfo:
        """The loaded model. Valid after `start`."""
        assert self._info is not None, "the engine has not been started"
        return self._info

    @property
    def is_ready(self) -> bool:
        """Whether jobs are taken right now."""
        return self._is_ready

    @property
    def pid(self) -> int | None:
        """The id of the worker process; None while there is none."""
        return None if self._worker is None else self._worker.pid

    async def start(self, on_progress: Callable[[float], None]) -> None:
        """Starts the worker and waits until the model is loaded; see `Engine`."""
        self._on_progress = on_progress
        try:
            await self._launch()
        finally:
            self._on_progress = None
        self._supervisor = asyncio.create_task(self._supervise())

    def generate(self, job: TokenJob) -> NativeStream:
        """Queues a job; see `Engine`."""
        if not self._is_ready or self._worker is None:
            raise NotReady("The engine is not running at the moment; try again shortly.")
        handle = next(self._handles)
        stream = NativeStream(job.num_sequences, lambda index: self._abort(handle, index))
        self._streams[handle] = stream
        if job.sampling.grammar is not None and self._get_vocabulary is not None and not self._worker_has_vocabulary:
            self._worker.send(UseVocabulary(self._get_vocabulary()))
            self._worker_has_vocabulary = True
        self._worker.send(AddJob(handle, job))
        return stream

    def stats(self) -> EngineStats:
        """The engine's load, as last heard of."""
        memory = self._memory
        if memory is not None and self._worker is not None:
            memory = replace(memory, peak=peak_resident_bytes(self._worker.pid))
        return replace(self._stats, num_restarts=self._num_restarts, memory=memory)

    async def close(self) -> None:
        """Aborts all jobs and ends the worker; see `Engine`."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
            self._supervisor = None
        self._stop_jobs("The engine was closed while it worked on this request.")
        await self._stop_worker()

    async def _launch(self) -> None:
        """Starts a worker and waits until it is ready.

        Raises:
            EngineStartError: it did not become ready; it has been cleaned up then.
        """
        self._exited.clear()
        self._loaded = asyncio.get_running_loop().create_future()
        self._worker = WorkerProcess(self._receive, self._handle_exit)
        self._worker_has_vocabulary = False
        try:
            await self._worker.start(self._path, self._config)
            ready = await self._until_loaded(self._worker, self._loaded)
            if self._exited.is_set():
                raise EngineStartError("The engine's process ended as soon as the model was loaded.")
        except BaseException:
            await self._stop_worker()
            raise
        self._info = replace(ready.info, takes_grammars=self._get_vocabulary is not None)
        self._stats, self._is_ready = ready.stats, True
        if ready.info.device == "cpu":
            self._memory = EngineMemory(ready.weight_bytes, ready.kv_cache_bytes, ready.base_bytes, peak=0)
        _logger.info(
            "%s with %d parameters in %s on %s (%s), %d threads; weights of %d MiB, KV cache of %d MiB, %d tokens",
            ready.info.architecture,
            ready.info.num_parameters,
            ready.info.dtype,
            ready.info.device,
            ready.kernels,
            ready.num_threads,
            ready.weight_bytes >> 20,
            ready.kv_cache_bytes >> 20,
            ready.stats.num_blocks * self._config.block_size,
        )

    async def _until_loaded(self, worker: WorkerProcess, loaded: asyncio.Future[Ready]) -> Ready:
        """Waits as long as a worker gets on with loading, of which it says every step.

        Raises:
            EngineStartError: it failed, or nothing was heard from it for too long.
        """
        limit = self._config.load_timeout
        silent_seconds = 0.0
        while not limit or silent_seconds < limit:
            tick = heartbeat.Tick()
            await asyncio.wait({loaded}, timeout=heartbeat.INTERVAL)
            if loaded.done():
                break
            if worker.was_heard():
                silent_seconds = 0.0
            elif tick.is_timely():
                silent_seconds += heartbeat.INTERVAL
        else:
            raise EngineStartError(
                f"The engine's process was killed: it made no progress in loading the model for {limit:g} seconds "
                f"(load_timeout)."
            )
        return await loaded

    async def _stop_worker(self) -> int | None:
        worker, self._worker = self._worker, None
        return None if worker is None else await worker.stop()

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        delay = _FIRST_DELAY
        while True:
            launched_at = loop.time()
            await self._until_exit()
            exit_code = await self._stop_worker()
            if loop.time() - launched_at > _STABLE_AFTER:
                delay = _FIRST_DELAY
            reason = f"the worker process ended with exit code {exit_code}"
            while not self._is_ready:
                _logger.error("Engine down: %s. Next start in %.1f s.", reason, delay)
                await asyncio.sleep(delay)
                delay = min(2 * delay, _LAST_DELAY)
                try:
                    await self._launch()
                    self._num_restarts += 1
                except EngineStartError as error:
                    reason = str(error)

    async def _until_exit(self) -> None:
        """Returns when the worker has ended; one that says nothing any more is killed."""
        worker = self._worker
        assert worker is not None, "the supervisor watches a worker that was started"
        num_silent = 0
        while num_silent < heartbeat.MAX_SILENCE:
            tick = heartbeat.Tick()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(heartbeat.INTERVAL):
                    await self._exited.wait()
                return
            if worker.was_heard():
                num_silent = 0
            elif tick.is_timely():
                num_silent += 1
        _logger.error("Nothing was heard from the engine's process for %g s; it is killed.", num_silent)
        worker.kill()
        await self._exited.wait()

    def _handle_exit(self, worker: WorkerProcess) -> None:
        if worker is not self._worker:
            return
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(EngineStartError("The engine's process ended while it was loading the model."))
            return
        self._stop_jobs("The engine's process ended while it worked on this request.")
        self._exited.set()

    def _stop_jobs(self, message: str) -> None:
        self._is_ready = False
        before = self._stats
        self._stats = replace(before, num_running=0, num_waiting=0, num_free_blocks=before.num_blocks)
        for stream in self._streams.values():
            stream.fail(EngineFailure(message))
        self._streams.clear()

    def _receive(self, message: FromWorker) -> None:
        match message:
            case StepDone():
                self._deliver(message)
            case Scheduled():
                now = time.perf_counter()
                for handle in message.handles:
                    if handle in self._streams:
                        self._streams[handle].scheduled_at = now
            case LoadProgress():
                if self._on_progress is not None:
                    self._on_progress(message.fraction)
            case Ready() if self._loaded is not None and not self._loaded.done():
                self._loaded.set_result(message)
            case LoadFailed() if self._loaded is not None and not self._loaded.done():
                self._loaded.set_exception(EngineStartError(message.message))

    def _deliver(self, step: StepDone) -> None:
        if step.stats is not None:
            self._stats = step.stats
        streams = self._streams
        for handle, prefilled in step.prefilled:
            if handle in streams:
                streams[handle].push(prefilled)
        rows = zip(step.handles, step.indices, step.token_ids, step.logprobs, strict=True)
        for handle, index, token_id, logprobs in rows:
            if handle in streams:
                streams[handle].push(TokensGenerated(index, (token_id,), () if logprobs is None else (logprobs,)))
        for handle, finished in step.finished:
            if handle in streams:
                streams[handle].push(finished)
                self._drop_if_done(handle)
        for failure in step.failed:
            if failure.handle in streams:
                streams.pop(failure.handle).fail(_error(failure))

    def _abort(self, handle: int, index: int | None) -> None:
        if self._worker is not None:
            self._worker.send(Abort(handle, index))
        if index is None:
            self._streams.pop(handle, None)
        else:
            self._drop_if_done(handle)

    def _drop_if_done(self, handle: int) -> None:
        if handle in self._streams and self._streams[handle].is_done:
            del self._streams[handle]


def _error(failure: Failure) -> PorticoError:
    if failure.grammar is None:
        return EngineFailure(failure.reason)
    return GrammarExhausted(failure.grammar, failure.reason)
