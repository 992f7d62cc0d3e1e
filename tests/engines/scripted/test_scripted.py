"""What the scripted engine does beyond the contract of engines: scripts, delays, failures, its queue."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.core.engine import TokensGenerated
from portico.core.errors import EngineFailure
from portico.core.events import FinishReason
from portico.engines.scripted.config import ScriptedConfig
from portico.engines.scripted.engine import ScriptedEngine
from portico.engines.scripted.restriction import Restriction
from portico.engines.scripted.walk import Walk, place_logprobs, prompt_state
from tests.engines.conformance.jobs import Reading, follow, read, read_tokens, token_job

PROMPT = (1, 2, 3)


@asynccontextmanager
async def running(config: ScriptedConfig) -> AsyncIterator[ScriptedEngine]:
    engine = ScriptedEngine(config)
    await engine.start(lambda fraction: None)
    try:
        yield engine
    finally:
        await engine.close()


async def test_a_script_is_emitted_and_followed_by_the_end() -> None:
    async with running(ScriptedConfig(script=(9, 8, 7), eos_token_id=2)) as engine:
        reading = await read(engine, token_job(PROMPT, max_tokens=20, stop_token_ids=frozenset({2})))
        assert reading.token_ids[0] == [9, 8, 7, 2]
        assert reading.finished[0].reason is FinishReason.STOP
        assert await read_tokens(engine, token_job(PROMPT, temperature=1.0, max_tokens=2)) == [9, 8]
        assert await read_tokens(engine, token_job(PROMPT, max_tokens=6)) == [9, 8, 7, 2, 9, 8]


async def test_a_scripted_token_is_the_most_likely() -> None:
    async with running(ScriptedConfig(script=(9, 8))) as engine:
        reading = await read(engine, token_job(PROMPT, max_tokens=2, logprobs=1))
        assert [place.best[0][0] for place in reading.logprobs[0]] == [9, 8]


async def test_the_greedy_walk_is_the_documented_one() -> None:
    async with running(ScriptedConfig(vocab_size=100)) as engine:
        token_ids = await read_tokens(engine, token_job(PROMPT, max_tokens=3))
    assert token_ids[0] == prompt_state(PROMPT) % 100
    assert token_ids[1] == prompt_state((*PROMPT, token_ids[0])) % 100


async def test_steps_may_bring_several_tokens() -> None:
    async with running(ScriptedConfig(tokens_per_step=3)) as engine:
        sizes = [
            len(event.token_ids)
            async for events in engine.generate(token_job(PROMPT, max_tokens=8))
            for event in events
            if isinstance(event, TokensGenerated)
        ]
    assert sizes == [3, 3, 2]


@pytest.mark.parametrize("num_tokens", [0, 1, 5])
async def test_failure_after_some_tokens(num_tokens: int) -> None:
    async with running(ScriptedConfig(fail_after=num_tokens, tokens_per_step=2)) as engine:
        job = token_job(PROMPT, max_tokens=20)
        reading = Reading(job)
        stream = engine.generate(job)
        with pytest.raises(EngineFailure, match=f"failed after {num_tokens} tokens"):
            await follow(stream, reading)
        assert len(reading.token_ids.get(0, [])) == num_tokens
        assert reading.prefilled is not None
        assert engine.stats().num_running == 0
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_a_job_that_ends_before_the_failure_ends_well() -> None:
    async with running(ScriptedConfig(fail_after=8)) as engine:
        assert len(await read_tokens(engine, token_job(PROMPT, max_tokens=8))) == 8


async def test_a_token_of_the_prompt_may_call_for_the_failure() -> None:
    async with running(ScriptedConfig(fail_token_id=3)) as engine:
        assert len(await read_tokens(engine, token_job((1, 2)))) == 8
        with pytest.raises(EngineFailure):
            await read(engine, token_job((1, 2, 3)))


async def test_jobs_wait_in_order_of_arrival() -> None:
    async with running(ScriptedConfig(max_num_seqs=2, token_delay=0.05)) as engine:
        order: list[int] = []

        async def run(number: int, num_sequences: int) -> None:
            await read(engine, token_job(PROMPT, num_sequences=num_sequences, max_tokens=5))
            order.append(number)

        tasks = [asyncio.create_task(run(number, width)) for number, width in enumerate((1, 2, 1, 3))]
        await asyncio.sleep(0.01)
        stats = engine.stats()
        assert (stats.num_running, stats.num_waiting) == (1, 3)
        assert stats.num_free_blocks == 1
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2, 3]


async def test_steps_that_the_loop_is_late_for_are_made_up_for() -> None:
    async with running(ScriptedConfig(token_delay=0.01)) as engine:
        stream = engine.generate(token_job(PROMPT, max_tokens=500))
        await anext(stream)
        time.sleep(0.2)
        await asyncio.sleep(0.02)
        assert len(await anext(stream)) >= 15
        await stream.aclose()


async def test_a_waiting_job_can_leave_the_queue() -> None:
    async with running(ScriptedConfig(max_num_seqs=1, token_delay=0.001)) as engine:
        first = asyncio.create_task(read(engine, token_job(PROMPT, max_tokens=10)))
        leaving = engine.generate(token_job(PROMPT))
        last = asyncio.create_task(read(engine, token_job(PROMPT)))
        await asyncio.sleep(0)
        await leaving.aclose()
        await asyncio.gather(first, last)


async def test_closing_wakes_a_waiting_reader() -> None:
    async with running(ScriptedConfig(prefill_delay=60)) as engine:
        stream = engine.generate(token_job(PROMPT))
        reader = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.01)
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await reader


async def test_delays() -> None:
    config = ScriptedConfig(load_delay=0.02, prefill_delay=0.03, token_delay=0.004)
    before = time.perf_counter()
    async with running(config) as engine:
        assert time.perf_counter() - before >= 0.02
        before = time.perf_counter()
        reading = await read(engine, token_job(PROMPT, max_tokens=6))
        assert time.perf_counter() - before >= 0.03 + 5 * 0.004
        assert reading.finished[0].timings.prefill >= 0.03
        assert reading.finished[0].timings.decode >= 5 * 0.004


async def test_queue_time_is_reported() -> None:
    async with running(ScriptedConfig(max_num_seqs=1, token_delay=0.002)) as engine:
        _, second = await asyncio.gather(*(read(engine, token_job(PROMPT, max_tokens=6)) for _ in range(2)))
        assert second.finished[0].timings.queue >= 5 * 0.002


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocab_size": 0}, "vocab_size must be at least 1"),
        ({"token_delay": -1.0}, "token_delay must not be negative"),
        ({"fail_after": -1}, "fail_after must not be negative"),
        ({"vocab_size": 4, "script": (4,)}, "Token id 4 is outside the vocabulary of 4 tokens"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScriptedConfig(**settings)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32), st.data())
def test_places_are_distributions(vocab_size: int, state: int, data: st.DataObject) -> None:
    best_id = state % vocab_size
    place = place_logprobs(best_id, best_id, vocab_size, vocab_size)
    assert math.fsum(math.exp(logprob) for _, logprob in place.best) == pytest.approx(1)
    assert {token_id for token_id, _ in place.best} == set(range(vocab_size))
    token_id = data.draw(st.integers(0, vocab_size - 1))
    assert place_logprobs(best_id, token_id, 0, vocab_size).logprob == dict(place.best)[token_id]


@settings(deadline=None)
@given(st.integers(), st.integers(1, 20))
def test_any_integer_is_a_seed(seed: int, vocab_size: int) -> None:
    def tokens() -> list[int]:
        walk = Walk(7, seed, (), vocab_size, None)
        return [walk.draw()[0] for _ in range(10)]

    assert tokens() == tokens()
    assert all(0 <= token_id < vocab_size for token_id in tokens())


def test_where_every_token_stops_the_best_is_drawn() -> None:
    restriction = Restriction.of(token_job([1], min_tokens=5, stop_token_ids=frozenset(range(3))))
    walk = Walk(7, None, (), 3, restriction)
    assert walk.draw() == (1, 1)


async def test_owners_take_turns() -> None:
    async with running(ScriptedConfig(max_num_seqs=1, token_delay=0.001)) as engine:
        ended: list[str] = []

        async def run(name: str) -> None:
            await read(engine, token_job(PROMPT, max_tokens=3, owner=name[0]))
            ended.append(name)

        await asyncio.gather(*map(run, ("a1", "a2", "a3", "a4", "b1", "b2")))
    assert ended == ["a1", "b1", "a2", "b2", "a3", "a4"]
