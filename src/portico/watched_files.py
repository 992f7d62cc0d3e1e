"""Files that are read again when they change, while the server runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_INTERVAL = 1.0

_logger = logging.getLogger(__name__)

# Tells one state of a file from another: its place on the disk, its size and the time of its last change.
_State = tuple[int, int, int] | None


@dataclass(slots=True)
class WatchedFiles:
    """Files that belong together.

    Attributes:
        what: they are, for the log.
        paths: of them.
        reload: reads them; raises one of `errors`, whose message is for the operator, if they cannot be used.
    """

    what: str
    paths: Sequence[Path]
    reload: Callable[[], None]
    errors: tuple[type[Exception], ...]
    _loaded: list[_State] = field(init=False)
    _seen: list[_State] = field(init=False)

    def __post_init__(self) -> None:
        self._loaded = self._seen = self._look()

    def check(self) -> None:
        """Reads them again if they have changed since, and no longer do: others may be writing them just now."""
        before, self._seen = self._seen, self._look()
        if self._seen == self._loaded or self._seen != before:
            return
        self._loaded = self._seen
        try:
            self.reload()
        except self.errors as error:
            _logger.error("%s have changed and cannot be used, those before hold on: %s", self.what, error)
        else:
            _logger.info("%s were read again", self.what)

    def _look(self) -> list[_State]:
        return [_state(path) for path in self.paths]


async def watch(files: Sequence[WatchedFiles]) -> None:
    """Looks at them every second, without end."""
    while True:
        await asyncio.sleep(_INTERVAL)
        for each in files:
            each.check()


def _state(path: Path) -> _State:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
