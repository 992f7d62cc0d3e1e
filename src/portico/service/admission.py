"""How much work is let in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from portico.core.errors import NotReady, Overloaded


class Admission:
    """Counts the sequences that run or wait; over the limit new requests are refused at once.

    A queue that only grows would answer everybody late; a refusal lets a client go elsewhere. Where several owners have
    requests here, none is refused before it has its part of the limit, so that one cannot shut out the others; all
    together may then have twice as much as the limit.
    """

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self._limit = max_running + max_waiting
        self._num_admitted = 0
        self._num_of_owner: Counter[str] = Counter()
        self._num_requests = 0
        self.is_closed = False

    def close(self) -> None:
        """Lets nothing in any more; what is in stays."""
        self.is_closed = True

    @property
    def num_requests(self) -> int:
        """Requests that are let in now."""
        return self._num_requests

    @contextmanager
    def admit(self, num_sequences: int, owner: str = "") -> Iterator[None]:
        """Holds places for the sequences of one request of an owner.

        A request larger than the whole limit is let in when nothing else is there.

        Raises:
            Overloaded: there is no room.
            NotReady: it is closed.
        """
        if self.is_closed:
            raise NotReady("The service has been stopped.")
        if not self._has_room(num_sequences, owner):
            raise Overloaded(
                f"The server is busy: {self._num_admitted} sequences are running or waiting, the limit is "
                f"{self._limit}. Try again later."
            )
        self._num_admitted += num_sequences
        self._num_of_owner[owner] += num_sequences
        self._num_requests += 1
        try:
            yield
        finally:
            self._num_admitted -= num_sequences
            self._num_of_owner[owner] -= num_sequences
            if not self._num_of_owner[owner]:
                del self._num_of_owner[owner]
            self._num_requests -= 1

    def _has_room(self, num_sequences: int, owner: str) -> bool:
        wanted = self._num_admitted + num_sequences
        if not self._num_admitted or wanted <= self._limit:
            return True
        part = self._limit // len({owner, *self._num_of_owner})
        return self._num_of_owner[owner] + num_sequences <= part and wanted <= 2 * self._limit
