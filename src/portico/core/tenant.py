"""Who asks: what an API key stands for."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Quota:
    """What a tenant may use; None is as much as there is.

    Attributes:
        requests_per_minute: requests that are let in within any 60 seconds.
        tokens_per_minute: tokens of prompts and outputs within any 60 seconds.
        max_parallel_requests: requests that are worked on at once.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_parallel_requests: int | None = None


NO_QUOTA = Quota()


@dataclass(frozen=True, slots=True)
class Tenant:
    """The owner of one or several keys.

    Attributes:
        name: for logs and metrics; empty where no keys are asked for.
        cache_salt: what was evaluated is shared among the requests of those tenants alone that have the same.
        quota: what it may use.
        is_operator: it may look at all tenants together, and control the server.
    """

    name: str
    cache_salt: str = field(repr=False)
    quota: Quota = NO_QUOTA
    is_operator: bool = False


# Whoever asks where no keys are asked for.
ANONYMOUS = Tenant("", "", is_operator=True)
