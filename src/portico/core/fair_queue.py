"""In which order what waits is begun, so that owners who ask for much do not hold up those who ask for little.

A virtual token counter (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024): who was served the
fewest tokens is next. Nobody saves anything up while away: whoever comes back begins with what the least served of
those who wait has had. With a single owner it is the order of arrival.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

# A token of output takes a pass over all weights, those of a prompt share one.
_OUTPUT_WEIGHT = 2

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """What waits, by owner; each owner's items keep their order. Owners that were served alike go by turns."""

    def __init__(self) -> None:
        # Only owners with items, the one that has waited longest first.
        self._waiting: dict[str, deque[Item]] = {}
        self._served: dict[str, int] = {}
        self._last_owner = ""

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __iter__(self) -> Iterator[Item]:
        for items in self._waiting.values():
            yield from items

    def append(self, owner: str, item: Item) -> None:
        """An item arrives."""
        self._items(owner).append(item)

    def put_back(self, owner: str, item: Item) -> None:
        """An item that had been begun waits again, before those of its owner that have not."""
        self._items(owner).appendleft(item)

    def first(self) -> Item:
        """What is next; something must be waiting."""
        return self._waiting[min(self._waiting, key=self.served)][0]

    def remove(self, owner: str, item: Item) -> None:
        """An item is begun or leaves; it must be waiting."""
        items = self._waiting[owner]
        items.remove(item)
        # Owners with equal counters go by turns: who had one is behind the others.
        del self._waiting[owner]
        if items:
            self._waiting[owner] = items
        self._last_owner = owner

    def served(self, owner: str) -> int:
        """What an owner was given, in tokens of prompts."""
        return self._served.get(owner, 0)

    def charge(self, owner: str, *, num_prompt_tokens: int = 0, num_output_tokens: int = 0) -> None:
        """Counts what an owner is given."""
        self._served[owner] = self.served(owner) + num_prompt_tokens + _OUTPUT_WEIGHT * num_output_tokens

    def donor(self, owner: str, num_places: Mapping[str, int]) -> str | None:
        """Who should give up a place so that `owner` gets one; None if nobody should.

        Who has most places gives one, of those who have two or more and were served no less than `owner`, which must
        have none. That bounds what is lost: nobody is given a second place in this way, or one while ahead.

        Args:
            owner: whose turn it is.
            num_places: the places of each owner.
        """
        if num_places.get(owner):
            return None
        able = [each for each, number in num_places.items() if number > 1 and self.served(each) >= self.served(owner)]
        return max(able, key=num_places.__getitem__, default=None)

    def _items(self, owner: str) -> deque[Item]:
        if owner not in self._waiting:
            least = min(self._waiting, key=self.served, default=self._last_owner)
            self._served[owner] = max(self.served(owner), self.served(least))
            self._waiting[owner] = deque()
        return self._waiting[owner]
