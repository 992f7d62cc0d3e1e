"""What each tenant has used of its share."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from portico.core.errors import QuotaExceeded
from portico.core.tenant import Tenant

_WINDOW = 60.0


class Quotas:
    """Counts requests and tokens of tenants over the last minute, to the request and to the token.

    A request that is refused costs nothing, but one that is refused for its tokens has counted as a request. Prompt
    tokens are charged when they are known, output tokens when the request ends: what was let in is never broken off, so
    a tenant may come out above its share and then waits until the minute has passed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    def count(self, tenant: Tenant) -> None:
        """Counts a request that uses no tokens.

        Raises:
            QuotaExceeded: the tenant has used its share of requests.
        """
        limit = tenant.quota.requests_per_minute
        if limit is not None:
            self._account(tenant).requests.charge(1, limit, tenant)

    @contextmanager
    def admit(self, tenant: Tenant) -> Iterator[Usage]:
        """Holds the place of a request, and settles its tokens in the end.

        Raises:
            QuotaExceeded: the tenant has used its share of requests or of tokens, or all its places.
        """
        account = self._account(tenant)
        quota = tenant.quota
        places = quota.max_parallel_requests
        if places is not None and account.num_parallel >= places:
            raise QuotaExceeded(
                "requests",
                f"The key `{tenant.name}` may have {places} requests at once, and {account.num_parallel} are being "
                "answered. Try again when one of them has ended.",
            )
        if quota.tokens_per_minute is not None:
            account.tokens.require(1, quota.tokens_per_minute, tenant)
        self.count(tenant)
        usage = Usage(account.tokens, tenant)
        account.num_parallel += 1
        try:
            yield usage
        finally:
            account.num_parallel -= 1
            usage.settle()

    def _account(self, tenant: Tenant) -> _Account:
        account = self._accounts.get(tenant.name)
        if account is None:
            account = self._accounts[tenant.name] = _Account(self._clock)
        return account


class Usage:
    """The tokens of one request."""

    def __init__(self, tokens: _Window, tenant: Tenant) -> None:
        self._tokens = tokens
        self._tenant = tenant
        self.num_output_tokens = 0

    def charge_prompt(self, num_tokens: int) -> None:
        """Charges the prompt.

        Raises:
            QuotaExceeded: it is more than what is left; nothing was charged.
        """
        limit = self._tenant.quota.tokens_per_minute
        if limit is not None:
            self._tokens.charge(num_tokens, limit, self._tenant)

    def settle(self) -> None:
        """Charges the output."""
        if self._tenant.quota.tokens_per_minute is not None and self.num_output_tokens:
            self._tokens.add(self.num_output_tokens)


class _Account:
    """What one tenant has used."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.requests = _Window("requests", clock)
        self.tokens = _Window("tokens", clock)
        self.num_parallel = 0


class _Window:
    """What was used within the last minute."""

    def __init__(self, kind: str, clock: Callable[[], float]) -> None:
        self._kind = kind
        self._clock = clock
        self._entries: deque[tuple[float, int]] = deque()
        self._used = 0

    def charge(self, amount: int, limit: int, tenant: Tenant) -> None:
        """Adds an amount if it fits below the limit."""
        self.require(amount, limit, tenant)
        self.add(amount)

    def require(self, amount: int, limit: int, tenant: Tenant) -> None:
        """Refuses an amount that does not fit.

        Raises:
            QuotaExceeded: it does not.
        """
        self._forget()
        if self._used + amount <= limit:
            return
        raise QuotaExceeded(
            self._kind,
            f"The key `{tenant.name}` may use {limit} {self._kind} per minute: {self._used} were used within the last "
            f"minute, and this request takes {amount}.",
            self._seconds_until(amount, limit),
        )

    def add(self, amount: int) -> None:
        """Adds an amount in any case."""
        self._entries.append((self._clock(), amount))
        self._used += amount

    def _forget(self) -> None:
        horizon = self._clock() - _WINDOW
        while self._entries and self._entries[0][0] <= horizon:
            self._used -= self._entries.popleft()[1]

    def _seconds_until(self, amount: int, limit: int) -> int:
        """Until the amount fits; the whole window for one that never will."""
        used = self._used
        for moment, entry in self._entries:
            used -= entry
            if used + amount <= limit:
                return max(1, math.ceil(moment + _WINDOW - self._clock()))
        return int(_WINDOW)
