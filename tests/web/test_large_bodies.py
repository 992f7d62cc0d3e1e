"""Giving memory back after large bodies."""

from __future__ import annotations

import asyncio

from portico.web.large_bodies import LargeBodies


async def test_memory_is_given_back_once_for_several_large_bodies_and_never_for_small_ones() -> None:
    given_back = asyncio.Event()
    times: list[float] = []

    def give_back() -> None:
        times.append(asyncio.get_running_loop().time())
        given_back.set()

    bodies = LargeBodies(give_back)
    bodies.forget(1000)
    await asyncio.sleep(0.4)
    assert times == []
    for _ in range(3):
        bodies.forget(1_000_000)
    await asyncio.wait_for(given_back.wait(), 5)
    await asyncio.sleep(0.4)
    assert len(times) == 1
    given_back.clear()
    bodies.forget(1_000_000)
    await asyncio.wait_for(given_back.wait(), 5)
    assert len(times) == 2
