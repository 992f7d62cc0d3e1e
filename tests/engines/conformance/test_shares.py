"""How every engine divides its places among owners."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from portico.core.engine import Engine
from tests.engines.conformance.conftest import ignore_progress
from tests.engines.conformance.jobs import read, token_job

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG = 400


@pytest_asyncio.fixture(loop_scope="session")
async def narrow_engine(make_engine: Callable[..., Engine]) -> AsyncIterator[Engine]:
    """Two sequences run at once."""
    engine = make_engine(max_num_seqs=2)
    await engine.start(ignore_progress)
    yield engine
    await engine.close()


async def test_many_jobs_of_one_owner_do_not_hold_up_another_and_lose_nothing(narrow_engine: Engine) -> None:
    engine = narrow_engine
    jobs = [token_job((1, 2, 3, number), 1.0, number, max_tokens=LONG, owner="busy") for number in range(3)]
    expected = [await read(engine, job) for job in jobs]
    small = token_job((4, 5, 6), owner="other")
    alone = await read(engine, small)
    busy = [asyncio.create_task(read(engine, job)) for job in jobs]
    while engine.stats().num_running < 2:
        await asyncio.sleep(0.001)
    for _ in range(3):
        assert (await read(engine, small)).token_ids == alone.token_ids
    assert not any(each.done() for each in busy)
    assert engine.stats().num_preemptions > 0
    found = [await each for each in busy]
    assert [each.token_ids for each in found] == [each.token_ids for each in expected]
    assert [each.finished.keys() for each in found] == [each.finished.keys() for each in expected]


async def test_without_owners_jobs_end_in_the_order_of_arrival(narrow_engine: Engine) -> None:
    ended: list[int] = []

    async def run(number: int) -> None:
        await read(narrow_engine, token_job((1, 2, 3, number), max_tokens=20 + 5 * number))
        ended.append(number)

    await asyncio.gather(*(run(number) for number in range(6)))
    assert ended == list(range(6))
    assert narrow_engine.stats().num_preemptions == 0
