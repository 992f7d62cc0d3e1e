"""In which order the jobs of several owners are begun: by turns, so that many of one do not hold up those of another.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): a job may begin when what its owner asked for before would have
been begun if all owners took turns. With a single owner it is the order of arrival.
"""

from __future__ import annotations


class Turns:
    """Gives each job that arrives its turn, a number; lower ones begin first, equal ones in order of arrival."""

    def __init__(self) -> None:
        self._now = 0
        self._next: dict[str, int] = {}

    def take(self, owner: str, weight: int) -> int:
        """The turn of a job that arrives; `weight` is how much it counts against the next ones of its owner."""
        turn = max(self._now, self._next.get(owner, 0))
        self._next[owner] = turn + weight
        return turn

    def begin(self, turn: int) -> None:
        """A job is begun; whoever comes from now on is not before it."""
        self._now = max(self._now, turn)
