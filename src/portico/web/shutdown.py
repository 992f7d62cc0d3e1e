"""Stopping the server from within."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

# How often it is looked whether requests still run, and how long an answer has to get out, in seconds.
_POLL_INTERVAL = 0.05


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
