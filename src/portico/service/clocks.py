"""How long requests may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from portico.core.engine import TokenStream
from portico.core.errors import QueueTimedOut, Stalled, TimedOut


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds of one request; None is without end.

    Attributes:
        total: from receipt to the last token.
        queue: from receipt until the engine begins with the first of its prompts.
        stall: from there until something comes, and from each step to the next.
    """

    total: float | None = None
    queue: float | None = None
    stall: float | None = None

    def shortened(self, total: float | None) -> TimeLimits:
        """With the client's own limit of the total, which can only be shorter."""
        if total is None or (self.total is not None and self.total <= total):
            return self
        return replace(self, total=total)


class Clocks:
    """Watches one running request and gives it up when one of its times is over.

    One timer per request looks now and then what is due; a step costs no more than a note of its time. While the reader
    has a step, and is perhaps slow, nothing stalls.
    """

    def __init__(
        self,
        limits: TimeLimits,
        received_at: float,
        streams: Sequence[TokenStream],
        give_up: Callable[[TimedOut], None],
    ) -> None:
        self._limits = limits
        self._received_at = received_at
        self._streams = streams
        self._give_up = give_up
        self._moved_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._look()

    def pause(self) -> None:
        """A step has come and is with the reader."""
        self._moved_at = None

    def resume(self) -> None:
        """The reader waits for the next step."""
        self._moved_at = time.perf_counter()

    def close(self) -> None:
        """The request is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = time.perf_counter()
        self._timer = None
        ends = self._ends(now)
        if not ends:
            return
        due, limit, error = min(ends, key=lambda each: each[0])
        if due <= now:
            self._give_up(error(limit))
        else:
            self._timer = asyncio.get_running_loop().call_later(due - now, self._look)

    def _ends(self, now: float) -> list[tuple[float, float, type[TimedOut]]]:
        """When the times that run are over, with their limits and what is to be said then."""
        limits = self._limits
        ends: list[tuple[float, float, type[TimedOut]]] = []
        if limits.total is not None:
            ends.append((self._received_at + limits.total, limits.total, TimedOut))
        begun = [at for stream in self._streams if (at := stream.scheduled_at) is not None]
        if limits.queue is not None and not begun:
            ends.append((self._received_at + limits.queue, limits.queue, QueueTimedOut))
        if limits.stall is not None:
            # Before it is begun nothing stalls, and to look again after that time is early enough.
            moved_at = now if self._moved_at is None or not begun else max(self._moved_at, min(begun))
            ends.append((moved_at + limits.stall, limits.stall, Stalled))
        return ends
