"""Running requests by the names that their clients gave them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stoppable:
    """What can be stopped by name. Names need not be unique: all that have it are stopped."""

    def __init__(self) -> None:
        self._running: dict[str, list[Callable[[], None]]] = {}

    @contextmanager
    def hold(self, name: str | None, stop: Callable[[], None]) -> Iterator[None]:
        """Keeps the way to stop a request while it runs; without a name it cannot be stopped."""
        if name is None:
            yield
            return
        self._running.setdefault(name, []).append(stop)
        try:
            yield
        finally:
            self._running[name].remove(stop)
            if not self._running[name]:
                del self._running[name]

    def stop(self, name: str) -> bool:
        """Stops what has the name; whether there was anything."""
        found = tuple(self._running.get(name, ()))
        for stop in found:
            stop()
        return bool(found)
