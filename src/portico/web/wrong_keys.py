"""How many requests without a right key an address may send."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from portico.core.errors import QuotaExceeded

# Of these only the latest are remembered; of IPv6 an address is a network of /64, which is one customer's at least.
_MAX_ADDRESSES = 4096
_NETWORK = 64


class TooManyWrongKeys(QuotaExceeded):
    """An address has sent too many requests without a right key."""

    def __init__(self, max_per_minute: int, retry_after: int) -> None:
        super().__init__(
            "requests",
            f"Too many requests without a right API key came from this address: it may send {max_per_minute} of them "
            "per minute.",
            retry_after,
        )


class WrongKeys:
    """A token bucket for each address, of what `max_per_minute` brings in a minute."""

    def __init__(self, max_per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_per_minute = max_per_minute
        self._clock = clock
        # What was left when, the address that was heard of longest ago first.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def count(self, address: str) -> None:
        """Counts a request without a right key.

        Raises:
            TooManyWrongKeys: there were too many from this address.
        """
        name, now = _name(address), self._clock()
        per_second = self._max_per_minute / 60
        left, before = self._left.pop(name, (float(self._max_per_minute), now))
        left = min(left + (now - before) * per_second, float(self._max_per_minute))
        is_over = left < 1
        self._left[name] = left if is_over else left - 1, now
        if len(self._left) > _MAX_ADDRESSES:
            self._left.popitem(last=False)
        if is_over:
            raise TooManyWrongKeys(self._max_per_minute, math.ceil((1 - left) / per_second))


def _name(address: str) -> str:
    """What an address is counted as."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv6Address):
        if known.ipv4_mapped is not None:
            return str(known.ipv4_mapped)
        return str(ipaddress.ip_network((known, _NETWORK), strict=False))
    return str(known)
