"""Stopping the server from within."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable

from portico.core.errors import NotReady, PorticoError

# How often it is looked whether requests still run, and how long an answer has to get out, in seconds.
_POLL_INTERVAL = 0.05
# How long clients have to read that their requests were broken off, in seconds.
_BREAK_OFF_TIME = 0.5

logger = logging.getLogger(__name__)


class Drain:
    """Stops requests in order: nothing new is let in, and what runs is finished, or broken off at the deadline.

    `close` lets nothing new in, which also makes the server not ready; `count_running` tells how many requests are
    left; `break_off` ends them with an error; `timeout` is in seconds.
    """

    def __init__(
        self,
        close: Callable[[], None],
        count_running: Callable[[], int],
        break_off: Callable[[PorticoError], None],
        timeout: float,
    ) -> None:
        self._close = close
        self._count_running = count_running
        self._break_off = break_off
        self._timeout = timeout

    async def run(self) -> None:
        """Returns when nothing runs any more, or when the clients of what was broken off had time to read so."""
        self._close()
        if self._count_running():
            logger.info("stopping: %d requests have %g seconds left", self._count_running(), self._timeout)
        if await self._wait(self._timeout):
            return
        logger.warning("stopping: %d requests are broken off", self._count_running())
        self._break_off(NotReady("The server was stopped while it worked on this request."))
        await self._wait(_BREAK_OFF_TIME)

    async def _wait(self, seconds: float) -> bool:
        """Whether nothing runs any more, after so many seconds at most."""
        deadline = time.monotonic() + seconds
        while self._count_running():
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_INTERVAL)
        return True


class DrainingStopper:
    """Waits for running requests and then signals the process, as an operator would.

    `close` lets nothing new in; `count_running` tells how many requests are left.
    """

    def __init__(self, close: Callable[[], None], count_running: Callable[[], int]) -> None:
        self._close = close
        self._count_running = count_running
        self._task: asyncio.Task[None] | None = None

    async def stop(self, is_forced: bool) -> bool:
        """Stops, whether or not whoever asked waits for it; False when that has begun already."""
        if self._task is not None and not is_forced:
            return False
        is_first = self._task is None
        self._close()
        loop = asyncio.get_running_loop()
        if is_forced:
            # The second signal cuts the answers that are being written.
            for delay in (_POLL_INTERVAL, 2 * _POLL_INTERVAL):
                loop.call_later(delay, _signal)
        self._task = self._task or loop.create_task(self._drain(is_forced))
        await asyncio.shield(self._task)
        return is_first

    async def _drain(self, is_forced: bool) -> None:
        if is_forced:
            return
        while self._count_running():
            await asyncio.sleep(_POLL_INTERVAL)
        asyncio.get_running_loop().call_later(_POLL_INTERVAL, _signal)


def _signal() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
