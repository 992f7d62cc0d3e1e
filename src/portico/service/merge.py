"""Several streams read as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from portico.core.engine import TokenEvent, TokenStream


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
