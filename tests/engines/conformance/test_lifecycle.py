"""Starting, ending early, load and closing of every engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from portico.core.engine import Engine
from portico.core.errors import EngineFailure, NotReady
from portico.core.model import EngineStats
from tests.engines.conformance.jobs import Reading, read, token_job

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROMPT = (5, 17, 23, 42, 99)
LONG = 400


def takes_jobs(engine: Engine) -> bool:
    """`is_ready`, asked anew each time: type checkers take a property for constant."""
    return engine.is_ready


async def wait_until(engine: Engine, condition: Callable[[EngineStats], bool], seconds: float = 2.0) -> None:
    deadline = time.perf_counter() + seconds
    while not condition(engine.stats()):
        assert time.perf_counter() < deadline, engine.stats()
        await asyncio.sleep(0.01)


async def test_finish_ends_one_sequence_only(engine: Engine) -> None:
    job = token_job(PROMPT, temperature=1.0, seed=1, num_sequences=3, max_tokens=40)
    expected = await read(engine, job)
    reading = Reading(job)
    stream = engine.generate(token_job(PROMPT, temperature=1.0, seed=1, num_sequences=3, max_tokens=40))
    seen: list[int] | None = None
    async for events in stream:
        reading.take(events)
        if seen is None and reading.token_ids.get(1):
            stream.finish(1)
            seen = list(reading.token_ids[1])
    assert reading.token_ids[1] == seen
    assert reading.finished.keys() == {0, 2}
    assert {index: reading.token_ids[index] for index in (0, 2)} == {
        index: expected.token_ids[index] for index in (0, 2)
    }


async def test_a_stream_ends_when_all_its_sequences_are_finished_early(engine: Engine) -> None:
    stream = engine.generate(token_job(PROMPT, num_sequences=2, max_tokens=LONG))
    await anext(stream)
    stream.finish(0)
    stream.finish(1)
    stream.finish(1)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    await wait_until(engine, lambda stats: stats.num_running == 0)


async def test_closing_a_stream_frees_its_place(engine: Engine) -> None:
    stream = engine.generate(token_job(PROMPT, num_sequences=2, max_tokens=LONG))
    await anext(stream)
    await wait_until(engine, lambda stats: stats.num_running > 0)
    await stream.aclose()
    await stream.aclose()
    await wait_until(engine, lambda stats: stats.num_running == 0 and stats.num_waiting == 0, seconds=1.0)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_stream_may_be_closed_before_it_is_read_and_after_its_end(engine: Engine) -> None:
    unread = engine.generate(token_job(PROMPT, max_tokens=LONG))
    await unread.aclose()
    ended = engine.generate(token_job(PROMPT))
    async for _ in ended:
        pass
    await ended.aclose()
    await wait_until(engine, lambda stats: stats.num_running == 0, seconds=1.0)


async def test_closing_one_stream_leaves_the_others(engine: Engine) -> None:
    expected = await read(engine, token_job(PROMPT, max_tokens=30))
    closed = engine.generate(token_job(PROMPT, max_tokens=LONG))
    task = asyncio.create_task(read(engine, token_job(PROMPT, max_tokens=30)))
    await anext(closed)
    await closed.aclose()
    assert (await task).token_ids == expected.token_ids


async def test_stats_of_an_idle_engine(engine: Engine) -> None:
    await wait_until(engine, lambda stats: stats.num_running == 0)
    stats = engine.stats()
    assert stats.num_waiting == 0
    assert 0 < stats.num_free_blocks <= stats.num_blocks
    assert stats.num_preemptions >= 0


async def test_the_whole_life(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    assert not takes_jobs(engine)
    with pytest.raises(NotReady):
        engine.generate(token_job(PROMPT))
    progress: list[float] = []
    await engine.start(progress.append)
    assert takes_jobs(engine)
    assert progress == sorted(progress)
    assert all(0 <= fraction <= 1 for fraction in progress)
    assert engine.info.vocab_size > 0
    assert engine.info.max_model_len > 0

    running = engine.generate(token_job(PROMPT, max_tokens=LONG))
    await anext(running)
    await engine.close()
    with pytest.raises(EngineFailure):
        async for _ in running:
            pass
    assert not takes_jobs(engine)
    with pytest.raises(NotReady):
        engine.generate(token_job(PROMPT))
    await engine.close()
