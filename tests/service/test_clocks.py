"""The clocks of a request, with streams whose times are known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from portico.core.engine import TokenEvent
from portico.core.errors import QueueTimedOut, Stalled, TimedOut
from portico.service.clocks import Clocks, TimeLimits


@dataclass
class Stream:
    """Only tells when it was scheduled."""

    scheduled_at: float | None = None

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Sequence[TokenEvent]:
        raise StopAsyncIteration

    def finish(self, index: int) -> None: ...

    async def aclose(self) -> None: ...


class Watched:
    """A request with limits that begins now."""

    def __init__(self, *streams: Stream, age: float = 0.0, **limits: float) -> None:
        self.errors: list[TimedOut] = []
        self.clocks = Clocks(TimeLimits(**limits), time.perf_counter() - age, streams, self.errors.append)

    def kinds(self) -> list[type[TimedOut]]:
        return [type(error) for error in self.errors]


def test_a_client_can_only_shorten() -> None:
    limits = TimeLimits(10.0, 5.0, 2.0)
    assert limits.shortened(None) is limits.shortened(20.0) is limits
    assert limits.shortened(3.0) == TimeLimits(3.0, 5.0, 2.0)
    assert TimeLimits().shortened(3.0) == TimeLimits(3.0)


async def test_the_first_time_that_is_over_counts_and_only_once() -> None:
    watched = Watched(Stream(), total=0.1, queue=0.05, stall=0.01)
    await asyncio.sleep(0.2)
    assert watched.kinds() == [QueueTimedOut]


async def test_preparation_counts_for_the_total() -> None:
    watched = Watched(Stream(), age=5.0, total=3.0)
    assert watched.kinds() == [TimedOut]


async def test_one_prompt_that_was_begun_ends_the_waiting() -> None:
    waiting, begun = Stream(), Stream()
    watched = Watched(waiting, begun, queue=0.05)
    begun.scheduled_at = time.perf_counter()
    await asyncio.sleep(0.1)
    assert watched.errors == []


async def test_the_wait_does_not_count_as_a_stall() -> None:
    stream = Stream()
    watched = Watched(stream, stall=0.1)
    await asyncio.sleep(0.15)
    stream.scheduled_at = time.perf_counter()
    await asyncio.sleep(0.08)
    assert watched.errors == []
    await asyncio.sleep(0.1)
    assert watched.errors == []
    watched.clocks.resume()
    await asyncio.sleep(0.2)
    assert watched.kinds() == [Stalled]


@pytest.mark.parametrize("is_paused", [True, False])
async def test_a_slow_reader_is_no_stall(is_paused: bool) -> None:
    watched = Watched(Stream(time.perf_counter()), stall=0.05)
    watched.clocks.resume()
    if is_paused:
        watched.clocks.pause()
    await asyncio.sleep(0.15)
    assert watched.kinds() == ([] if is_paused else [Stalled])


async def test_steps_wind_the_clock() -> None:
    watched = Watched(Stream(time.perf_counter()), stall=0.1)
    for _ in range(5):
        watched.clocks.pause()
        watched.clocks.resume()
        await asyncio.sleep(0.04)
    assert watched.errors == []


async def test_nothing_happens_after_the_end() -> None:
    watched = Watched(Stream(), total=0.05)
    watched.clocks.close()
    await asyncio.sleep(0.1)
    assert watched.errors == []
