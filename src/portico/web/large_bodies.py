"""What large bodies leave behind in the allocator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from portico.core.freed_memory import give_back_freed_memory

# Bodies of so many bytes or more; what smaller ones take is soon taken again by others.
_LARGE = 64 * 1024
# Seconds after which freed memory is given back: it takes a tenth of a millisecond mostly, and some at the worst.
_DELAY = 0.25


class LargeBodies:
    """Gives their memory back to the system a moment after they are done with, several of them at once."""

    def __init__(self, give_back: Callable[[], None] = give_back_freed_memory) -> None:
        self._give_back = give_back
        self._timer: asyncio.TimerHandle | None = None

    def forget(self, num_bytes: int) -> None:
        """To be told of every body that is done with. Must be called in the event loop."""
        if num_bytes >= _LARGE and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY, self._meet_deadline)

    def _meet_deadline(self) -> None:
        self._timer = None
        self._give_back()
