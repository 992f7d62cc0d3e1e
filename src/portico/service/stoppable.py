"""Running requests by the names that their clients gave them, each tenant's for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stoppable:
    """What can be stopped by name. Names need not be unique: all that have it are stopped."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], list[Callable[[], None]]] = {}

    @contextmanager
    def hold(self, tenant: str, name: str | None, stop: Callable[[], None]) -> Iterator[None]:
        """Keeps the way to stop a request while it runs; without a name it cannot be stopped."""
        if name is None:
            yield
            return
        key = tenant, name
        self._running.setdefault(key, []).append(stop)
        try:
            yield
        finally:
            self._running[key].remove(stop)
            if not self._running[key]:
                del self._running[key]

    def stop(self, tenant: str, name: str) -> bool:
        """Stops what has the name; whether there was anything."""
        found = tuple(self._running.get((tenant, name), ()))
        for stop in found:
            stop()
        return bool(found)
