"""Several streams read as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from portico.core.engine import TokenEvent, TokenStream


class Steps(Protocol):
    """What happens in several streams: each step has the position of its stream. Closing it closes them."""

    def __aiter__(self) -> Steps: ...

    async def __anext__(self) -> tuple[int, Sequence[TokenEvent]]: ...

    async def aclose(self) -> None: ...


def merge(streams: Sequence[TokenStream]) -> Steps:
    """Gives what happens in any of the streams, with the stream's position.

    Raises (from iteration):
        EngineFailure: one of the streams failed; the others are closed with the steps.
    """
    return _Only(streams[0]) if len(streams) == 1 else _Several(streams)


class _Only:
    """The steps of one stream: without tasks, as there is nothing to wait for beside it."""

    def __init__(self, stream: TokenStream) -> None:
        self._stream = stream

    def __aiter__(self) -> _Only:
        return self

    async def __anext__(self) -> tuple[int, Sequence[TokenEvent]]:
        return 0, await self._stream.__anext__()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Several:
    """The steps of several streams, in the order in which they happen."""

    def __init__(self, streams: Sequence[TokenStream]) -> None:
        self._streams = streams
        self._steps = _interleave(streams)

    def __aiter__(self) -> _Several:
        return self

    async def __anext__(self) -> tuple[int, Sequence[TokenEvent]]:
        return await anext(self._steps)

    async def aclose(self) -> None:
        # Closing a generator that was never asked for a step runs none of it, so the streams are closed here.
        await self._steps.aclose()
        for stream in self._streams:
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
