"""How it is noticed that the engine's process does not get on.

A thread of the process says every second that it is there, and ends the process when its main thread is at one thing
for too long without getting on. The other side takes the process for hung when it hears nothing for a while. Both count
seconds in which they ran themselves, so that a machine that was asleep or too busy is not taken for a hang.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

# Seconds between signs of life.
INTERVAL = 1.0
# So many of them may be missing.
MAX_SILENCE = 7

_logger = logging.getLogger(__name__)


class Tick:
    """One interval of watching."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()

    def is_timely(self) -> bool:
        """Whether about an interval has passed and no more."""
        return time.monotonic() - self._began_at < 2 * INTERVAL


class Heart:
    """The thread. The main thread calls `begin` and `rest` around each round of work.

    `beat` says that the process is there. `get_progress` gives something that changes as the round gets on, and
    `get_max_stillness` the seconds in which it must have.
    """

    def __init__(
        self, beat: Callable[[], None], get_progress: Callable[[], object], get_max_stillness: Callable[[], float]
    ) -> None:
        self._beat = beat
        self._get_progress = get_progress
        self._get_max_stillness = get_max_stillness
        self._num_rounds = 0
        self._is_busy = False

    def start(self) -> None:
        """Beats from now on."""
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def begin(self) -> None:
        """A round of work begins."""
        self._num_rounds += 1
        self._is_busy = True

    def rest(self) -> None:
        """Nothing is done until the next round."""
        self._is_busy = False

    def _run(self) -> None:
        num_ticks = 0
        last: tuple[int, object] | None = None
        while True:
            tick = Tick()
            time.sleep(INTERVAL)
            self._beat()
            seen = (self._num_rounds, self._get_progress()) if self._is_busy else None
            if seen is None or seen != last:
                num_ticks, last = 0, seen
            elif tick.is_timely():
                num_ticks += 1
            if num_ticks * INTERVAL > self._get_max_stillness():
                _logger.critical("a step does not get on for %g seconds: the process ends", num_ticks * INTERVAL)
                os._exit(1)
