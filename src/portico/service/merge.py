"""Several streams read as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from portico.core.engine import TokenEvent, TokenStream
from portico.core.errors import TimedOut

Steps = AsyncGenerator[tuple[int, Sequence[TokenEvent]], None]


async def merge(streams: Sequence[TokenStream]) -> AsyncGenerator[tuple[int, Sequence[TokenEvent]], None]:
    """Gives what happens in any of the streams, with the stream's position; closes all of them in the end.

    Raises:
        EngineFailure: one of the streams failed; the others are closed.
    """
    try:
        if len(streams) == 1:
            async for events in streams[0]:
                yield 0, events
            return
        async for item in _interleave(streams):
            yield item
    finally:
        for stream in streams:
            await stream.aclose()


async def _interleave(streams: Sequence[TokenStream]) -> AsyncGenerator[tuple[int, Sequence[TokenEvent]], None]:
    pending = {asyncio.ensure_future(anext(stream)): position for position, stream in enumerate(streams)}
    try:
        while pending:
            done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                position = pending.pop(task)
                if isinstance(task.exception(), StopAsyncIteration):
                    continue
                yield position, task.result()
                pending[asyncio.ensure_future(anext(streams[position]))] = position
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


def within(timeout: float | None, steps: Steps) -> Steps:
    """The same steps, given up after `timeout` seconds; they are closed together.

    Raises:
        TimedOut: (from iteration) the time is over.
    """
    return steps if timeout is None else _limit(timeout, steps)


async def _limit(timeout: float, steps: Steps) -> Steps:
    deadline = asyncio.get_running_loop().time() + timeout
    async with aclosing(steps):
        while True:
            # The time runs while waiting only, never while the reader has the step.
            try:
                async with asyncio.timeout_at(deadline):
                    step = await anext(steps)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise TimedOut(timeout) from None
            yield step
