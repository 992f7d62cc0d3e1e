"""What every engine generates: counts, ends, determinism and seeds."""

from __future__ import annotations

import asyncio

import pytest

from portico.core.engine import Engine, TokenJob
from portico.core.events import FinishReason
from tests.engines.conformance.jobs import read, read_tokens, token_job

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROMPT = (5, 17, 23, 42, 99)


@pytest.mark.parametrize("max_tokens", [1, 2, 33])
async def test_max_tokens_is_exact(engine: Engine, max_tokens: int) -> None:
    reading = await read(engine, token_job(PROMPT, max_tokens=max_tokens))
    assert len(reading.token_ids[0]) == max_tokens
    assert reading.finished[0].reason is FinishReason.LENGTH
    assert reading.finished[0].stop_token_id is None


async def test_output_is_within_the_vocabulary(engine: Engine) -> None:
    reading = await read(engine, token_job(PROMPT, temperature=1.0, seed=1, max_tokens=50))
    assert all(0 <= token_id < engine.info.vocab_size for token_id in reading.token_ids[0])


async def test_prompt_and_output_may_fill_the_context(engine: Engine) -> None:
    prompt = [each % 100 for each in range(engine.info.max_model_len - 3)]
    assert len(await read_tokens(engine, token_job(prompt, max_tokens=3))) == 3


async def test_a_stop_token_ends_the_sequence_and_is_its_last(engine: Engine) -> None:
    free = await read_tokens(engine, token_job(PROMPT, max_tokens=12))
    stop = free[4]
    reading = await read(engine, token_job(PROMPT, max_tokens=12, stop_token_ids=frozenset({stop})))
    assert reading.token_ids[0] == free[: free.index(stop) + 1]
    assert reading.finished[0].reason is FinishReason.STOP
    assert reading.finished[0].stop_token_id == stop


async def test_a_stop_token_in_the_last_place_is_a_stop(engine: Engine) -> None:
    first = (await read_tokens(engine, token_job(PROMPT, max_tokens=1)))[0]
    reading = await read(engine, token_job(PROMPT, max_tokens=1, stop_token_ids=frozenset({first})))
    assert reading.token_ids[0] == [first]
    assert reading.finished[0].reason is FinishReason.STOP


async def test_no_stop_token_is_drawn_before_min_tokens(engine: Engine) -> None:
    free = await read_tokens(engine, token_job(PROMPT, max_tokens=10))
    stops = frozenset(free[:5])
    reading = await read(engine, token_job(PROMPT, max_tokens=10, min_tokens=6, stop_token_ids=stops))
    assert len(reading.token_ids[0]) >= 6
    assert stops.isdisjoint(reading.token_ids[0][:6])


async def test_sequences_of_one_greedy_job_are_equal(engine: Engine) -> None:
    reading = await read(engine, token_job(PROMPT, num_sequences=4))
    alone = await read_tokens(engine, token_job(PROMPT))
    assert reading.token_ids == dict.fromkeys(range(4), alone)


async def test_sequences_end_each_by_itself(engine: Engine) -> None:
    job = token_job(PROMPT, temperature=1.0, seed=3, num_sequences=6, max_tokens=40)
    free = (await read(engine, job)).token_ids
    stop = free[2][3]
    stopped = token_job(
        PROMPT, temperature=1.0, seed=3, num_sequences=6, max_tokens=40, stop_token_ids=frozenset({stop})
    )
    reading = await read(engine, stopped)
    for index, token_ids in free.items():
        expected = token_ids[: token_ids.index(stop) + 1] if stop in token_ids else token_ids
        assert reading.token_ids[index] == expected


async def test_greedy_repeats(engine: Engine) -> None:
    first, second = await asyncio.gather(
        read_tokens(engine, token_job(PROMPT, max_tokens=20)), read_tokens(engine, token_job(PROMPT, max_tokens=20))
    )
    assert first == second


async def test_greedy_depends_on_the_prompt(engine: Engine) -> None:
    other = await read_tokens(engine, token_job(reversed(PROMPT), max_tokens=20))
    assert other != await read_tokens(engine, token_job(PROMPT, max_tokens=20))


async def test_a_seed_repeats_and_another_differs(engine: Engine) -> None:
    def seeded(seed: int) -> TokenJob:
        return token_job(PROMPT, temperature=1.0, seed=seed, max_tokens=24)

    assert await read_tokens(engine, seeded(7)) == await read_tokens(engine, seeded(7))
    assert await read_tokens(engine, seeded(7)) != await read_tokens(engine, seeded(8))


async def test_sequence_i_uses_seed_plus_i(engine: Engine) -> None:
    reading = await read(engine, token_job(PROMPT, temperature=1.0, seed=20, num_sequences=3, max_tokens=24))
    assert [reading.finished[index].seed for index in range(3)] == [20, 21, 22]
    for index in range(3):
        alone = token_job(PROMPT, temperature=1.0, seed=20 + index, max_tokens=24)
        assert reading.token_ids[index] == await read_tokens(engine, alone)


async def test_the_reported_seed_of_an_unseeded_job_repeats_it(engine: Engine) -> None:
    first = await read(engine, token_job(PROMPT, temperature=1.0, max_tokens=24))
    again = token_job(PROMPT, temperature=1.0, seed=first.finished[0].seed, max_tokens=24)
    assert await read_tokens(engine, again) == first.token_ids[0]


async def test_unseeded_jobs_differ(engine: Engine) -> None:
    first, second = [await read_tokens(engine, token_job(PROMPT, temperature=1.0, max_tokens=24)) for _ in range(2)]
    assert first != second


def mixed_job(number: int) -> TokenJob:
    """One of many jobs that differ in everything; the same number is the same work."""
    prompt = [(number * 31 + place * 7) % 150 for place in range(1 + number * 5 % 40)]
    return token_job(
        prompt,
        temperature=number % 3 / 2,
        seed=number,
        num_sequences=1 + number % 2,
        max_tokens=4 + number % 13,
        logprobs=2 if number % 4 == 0 else None,
    )


async def test_many_jobs_at_once_are_each_as_alone(engine: Engine) -> None:
    alone = [await read(engine, mixed_job(number)) for number in range(32)]
    together = await asyncio.gather(*(read(engine, mixed_job(number)) for number in range(32)))
    assert [each.token_ids for each in together] == [each.token_ids for each in alone]


async def test_timings_are_durations(engine: Engine) -> None:
    timings = (await read(engine, token_job(PROMPT))).finished[0].timings
    assert min(timings.queue, timings.prefill, timings.decode) >= 0
    assert timings.queue + timings.prefill + timings.decode < 60
