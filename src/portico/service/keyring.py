"""Which key is whose. Keys are kept as digests only."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from portico.core.tenant import Tenant

# Longer ones are not looked at. How long keys are is no secret.
MAX_KEY_LENGTH = 512


def digest(key: bytes) -> bytes:
    """What is kept of a key.

    One pass of SHA-256 is enough for keys that are drawn at random; it would not be for passwords.
    """
    return hashlib.sha256(key).digest()


class Keyring:
    """Finds the tenant of a key."""

    def __init__(self, tenants: Iterable[tuple[bytes, Tenant]]) -> None:
        """Takes the digest of each key with its tenant."""
        self.replace(tenants)

    def replace(self, tenants: Iterable[tuple[bytes, Tenant]]) -> None:
        """Takes others instead of those that there were."""
        self._tenants = tuple(tenants)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tenants."""
        return tuple(dict.fromkeys(tenant.name for _, tenant in self._tenants))

    def find(self, key: bytes) -> Tenant | None:
        """The tenant of a key, in a time that does not tell which keys there are."""
        if len(key) > MAX_KEY_LENGTH:
            return None
        given = digest(key)
        found: Tenant | None = None
        for known, tenant in self._tenants:
            if hmac.compare_digest(known, given):
                found = tenant
        return found
