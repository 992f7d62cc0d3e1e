"""The asynchronous face and its worker process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portico.core.engine import EngineStartError
from portico.core.errors import EngineFailure, NotReady
from portico.engines.native import process
from portico.engines.native.config import NativeConfig
from portico.engines.native.engine import NativeEngine
from tests.engines.native.jobs import collect, job, sampling

CONFIG = NativeConfig(num_threads=1, device="cpu")


async def until(condition: Callable[[], object], timeout: float = 20.0) -> None:
    """Waits until a function gives something true."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.asyncio(loop_scope="session")
async def test_thirty_two_requests_at_once(engine: NativeEngine, prompts: list[tuple[int, ...]]) -> None:
    jobs = [job(prompt, max_tokens=10 + number) for number, prompt in enumerate(prompts)]
    together = await asyncio.gather(*(collect(engine.generate(each)) for each in jobs))
    for each, outcome in zip(jobs[::4], together[::4], strict=True):
        assert (await collect(engine.generate(each))).token_ids == outcome.token_ids
    await until(lambda: engine.stats().num_free_blocks == engine.stats().num_blocks)
    assert engine.stats().num_running == engine.stats().num_waiting == 0


@pytest.mark.asyncio(loop_scope="session")
async def test_closing_a_stream_aborts_its_job(engine: NativeEngine) -> None:
    stream = engine.generate(job(range(20), num_sequences=3, max_tokens=200))
    await anext(stream)
    assert engine.stats().num_free_blocks < engine.stats().num_blocks
    await stream.aclose()
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    await until(lambda: engine.stats().num_free_blocks == engine.stats().num_blocks)
    assert engine.stats().num_running == 0


@pytest.mark.asyncio(loop_scope="session")
async def test_finishing_one_sequence_leaves_the_others(engine: NativeEngine) -> None:
    hot = sampling(temperature=1.0, seed=1)
    stream = engine.generate(job(range(20), num_sequences=3, max_tokens=100, sampling=hot))
    await anext(stream)
    stream.finish(1)
    stream.finish(1)
    rest = await collect(stream)
    assert rest.finished.keys() == {0, 2}
    assert 1 not in rest.token_ids


@pytest.mark.asyncio(loop_scope="session")
async def test_finishing_all_sequences_ends_the_stream(engine: NativeEngine) -> None:
    stream = engine.generate(job(range(20), num_sequences=2, max_tokens=200))
    stream.finish(0)
    stream.finish(1)
    assert (await collect(stream)).finished == {}


@pytest.mark.asyncio(loop_scope="session")
async def test_a_job_that_cannot_be_run_raises_in_its_stream(engine: NativeEngine) -> None:
    with pytest.raises(EngineFailure, match="do not fit"):
        await collect(engine.generate(job(range(20), max_tokens=1000)))
    assert len((await collect(engine.generate(job(range(20))))).token_ids[0]) == 8


async def test_a_killed_worker_fails_its_jobs_and_is_replaced(checkpoint: Path) -> None:
    fractions: list[float] = []
    engine = NativeEngine(checkpoint, CONFIG)
    with pytest.raises(NotReady):
        engine.generate(job(range(4)))
    await engine.start(fractions.append)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    expected = await collect(engine.generate(job(range(20), max_tokens=20)))
    streams = [engine.generate(job(range(20), max_tokens=230)) for _ in range(3)]
    for stream in streams:
        await anext(stream)
    pid = engine.pid
    assert pid is not None
    killed_at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    for stream in streams:
        with pytest.raises(EngineFailure, match="ended while it worked"):
            await collect(stream)
    assert time.monotonic() - killed_at < 1.0
    assert not engine.is_ready
    with pytest.raises(NotReady):
        engine.generate(job(range(4)))
    await until(lambda: engine.is_ready)
    assert engine.pid not in (None, pid)
    assert (await collect(engine.generate(job(range(20), max_tokens=20)))).token_ids == expected.token_ids
    await engine.close()
    assert not Path(f"/proc/{pid}").exists()


async def stop_next_worker(engine: NativeEngine, before: int | None) -> int:
    """Stops the worker that is started next, before it has loaded anything."""
    await until(lambda: engine.pid not in (None, before))
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGSTOP)
    return engine.pid


async def test_a_worker_that_hangs_while_it_loads_is_replaced(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = NativeEngine(checkpoint, replace(CONFIG, load_timeout=8))
    await engine.start(lambda _: None)
    first = engine.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    hung = await stop_next_worker(engine, first)
    stopped_at = time.monotonic()
    await until(lambda: not Path(f"/proc/{hung}").exists())
    assert 7 < time.monotonic() - stopped_at < 14
    assert not engine.is_ready
    await until(lambda: engine.is_ready, 60)
    assert engine.pid not in (None, first, hung)
    assert engine.stats().num_restarts == 1
    assert "made no progress in loading the model for 8 seconds (load_timeout)" in caplog.text
    assert len((await collect(engine.generate(job(range(20))))).token_ids[0]) == 8
    await engine.close()


async def test_the_first_worker_that_hangs_while_it_loads_is_one_sentence(checkpoint: Path) -> None:
    engine = NativeEngine(checkpoint, replace(CONFIG, load_timeout=2))
    starting = asyncio.create_task(engine.start(lambda _: None))
    hung = await stop_next_worker(engine, None)
    with pytest.raises(EngineStartError, match=r"no progress in loading the model for 2 seconds \(load_timeout\)\.$"):
        await starting
    assert not Path(f"/proc/{hung}").exists()
    await engine.close()


async def test_loading_that_gets_on_may_take_longer_than_the_limit(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_main", _load_slowly)
    engine = NativeEngine(checkpoint, replace(CONFIG, load_timeout=8))
    began_at = time.monotonic()
    await engine.start(lambda _: None)
    assert time.monotonic() - began_at > 10
    assert engine.is_ready
    await engine.close()


def _load_slowly(connection: socket.socket, path: Path, config: NativeConfig) -> None:
    from portico.engines.native import startup, worker

    looked_up: Any = startup
    load_weights = looked_up.load_weights

    def slowly(checkpoint: Any, dtype: Any, device: Any, on_progress: Callable[[float], None]) -> Any:
        for _ in range(10):
            time.sleep(1)
            on_progress(0.0)
        return load_weights(checkpoint, dtype, device, on_progress)

    looked_up.load_weights = slowly
    worker.run(connection, path, config)


async def test_interrupts_do_not_reach_the_worker_and_closing_ends_it(checkpoint: Path) -> None:
    engine = NativeEngine(checkpoint, CONFIG)
    await engine.start(lambda _: None)
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    stream = engine.generate(job(range(20), max_tokens=200))
    await anext(stream)
    await engine.close()
    await engine.close()
    with pytest.raises(EngineFailure, match="was closed"):
        await collect(stream)
    assert not engine.is_ready
    assert engine.pid is None
    assert not Path(f"/proc/{pid}").exists()


async def test_a_checkpoint_that_cannot_be_served_is_one_sentence(tmp_path: Path) -> None:
    engine = NativeEngine(tmp_path / "nowhere", CONFIG)
    with pytest.raises(EngineStartError, match=r"^There is no checkpoint directory .*nowhere\.$"):
        await engine.start(lambda _: None)
    assert engine.pid is None
    await engine.close()


_ORPHAN = """
import asyncio, os, sys
from pathlib import Path
from portico.engines.native.config import NativeConfig
from portico.engines.native.engine import NativeEngine

async def main():
    engine = NativeEngine(Path(sys.argv[1]), NativeConfig(num_threads=1, device="cpu"))
    await engine.start(lambda fraction: None)
    print(engine.pid, "torch" in sys.modules, flush=True)
    os._exit(1)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_the_worker_ends_with_its_parent_which_never_imports_torch(checkpoint: Path, tmp_path: Path) -> None:
    script = tmp_path / "orphan.py"
    script.write_text(_ORPHAN)
    run = subprocess.run([sys.executable, str(script), str(checkpoint)], capture_output=True, text=True, check=False)
    pid, has_torch = run.stdout.split()
    assert has_torch == "False"
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]
