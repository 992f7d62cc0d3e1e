"""The events of one job on their way from the worker to whoever asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from portico.core.engine import SequenceFinished, TokenEvent, TokensGenerated
from portico.core.errors import PorticoError


class NativeStream:
    """A `TokenStream` for one consumer.

    `abort` tells the worker to end a sequence (its index) or the whole job (None), and is not called for what has
    ended already.
    """

    def __init__(self, num_sequences: int, abort: Callable[[int | None], None]) -> None:
        self._running = set(range(num_sequences))
        self._abort = abort
        self._pending: list[TokenEvent] = []
        self._failure: PorticoError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.scheduled_at: float | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def is_done(self) -> bool:
        """Whether no further event will come."""
        return not self._running or self._failure is not None

    def push(self, event: TokenEvent) -> None:
        """Takes an event from the worker."""
        if isinstance(event, TokensGenerated | SequenceFinished):
            if event.index not in self._running:
                return
            if isinstance(event, SequenceFinished):
                self._running.discard(event.index)
        self._pending.append(event)
        self._wake()

    def fail(self, error: PorticoError) -> None:
        """Breaks the stream off after what it holds already."""
        if not self.is_done:
            self._failure = error
            self._wake()

    def __aiter__(self) -> NativeStream:
        return self

    async def __anext__(self) -> Sequence[TokenEvent]:
        while not self._pending:
            if self._failure is not None:
                raise self._failure
            if not self._running:
                raise StopAsyncIteration
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        events, self._pending = self._pending, []
        return events

    def finish(self, index: int) -> None:
        """Ends one sequence early; see `TokenStream`."""
        if index in self._running and self._failure is None:
            self._running.discard(index)
            self._pending = [event for event in self._pending if getattr(event, "index", None) != index]
            self._abort(index)
            self._wake()

    async def aclose(self) -> None:
        """Aborts what still runs; see `TokenStream`."""
        if self._running and self._failure is None:
            self._abort(None)
        self._running.clear()
        self._pending.clear()
        self._failure = None
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
