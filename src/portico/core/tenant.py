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
        paths: those that it may use, as the OpenAPI document has them; `*` at the end is any end. None is all.
    """

    name: str
    cache_salt: str = field(repr=False)
    quota: Quota = NO_QUOTA
    is_operator: bool = False
    paths: tuple[str, ...] | None = None

    def may_use(self, path: str) -> bool:
        """Whether a path that is served, with names in braces for its variable parts, is one of its own."""
        return self.paths is None or any(_covers(pattern, path) for pattern in self.paths)


def _covers(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


# Whoever asks where no keys are asked for.
ANONYMOUS = Tenant("", "", is_operator=True)
