"""Who is let in: keys in the headers of requests, and the names that browsers may know the server by."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Collection, Iterable

from starlette.types import Scope

from portico.core.errors import Forbidden, Unauthorized
from portico.core.tenant import ANONYMOUS, Tenant
from portico.service.keyring import Keyring
from portico.web.wrong_keys import WrongKeys

_BEARER, _BARE = b"authorization", b"x-api-key"


class Access(enum.IntEnum):
    """What a path asks for, the least first."""

    OPEN = 0
    KEY = 1
    OPERATOR = 2


class Guard:
    """Checks who asks. Without a keyring everybody is let in.

    With `hosts` a request must call the server by one of these names, by a loopback address, or by a name without a
    dot. So a browser is kept from what a page asks of its own name, which was made to point to this machine (DNS
    rebinding). With `wrong_keys` an address that sends many requests without a right key is told to wait; a right key
    is let in from there all the same.
    """

    def __init__(
        self,
        keyring: Keyring | None = None,
        hosts: Collection[str] | None = None,
        wrong_keys: WrongKeys | None = None,
    ) -> None:
        self._keyring = keyring
        self._wrong_keys = wrong_keys
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names of those who have keys; none where everybody is let in."""
        return () if self._keyring is None else self._keyring.names

    def admit(
        self, headers: Iterable[tuple[bytes, bytes]], access: Access, address: str = "", route: str | None = None
    ) -> Tenant:
        """Whose request it is; `headers` have lower-case names, `address` is the other end of the connection.

        `route` is the path that was found in the table, or None where there is none: what the request calls it decides
        nothing.

        Raises:
            Unauthorized: a key is needed, and there is none or not a right one.
            TooManyWrongKeys: the same, and too many such requests came from the address.
            Forbidden: the key is not an operator's or not for this path, or the server is called by a name that is not
                its own.
        """
        headers = tuple(headers)
        if self._hosts is not None:
            for name, value in headers:
                if name == b"host":
                    self._check_host(value.decode("latin-1"))
        if self._keyring is None or access is Access.OPEN:
            return ANONYMOUS
        try:
            tenant = self._find_tenant(self._keyring, headers)
        except Unauthorized:
            if self._wrong_keys is not None:
                self._wrong_keys.count(address)
            raise
        if access is Access.OPERATOR and not tenant.is_operator:
            raise Forbidden(f"The key `{tenant.name}` is not an operator's.", tenant.name)
        if route is not None and not tenant.may_use(path := route.replace(":path}", "}")):
            raise Forbidden(f"The key `{tenant.name}` is not for {path}.", tenant.name)
        return tenant

    def _find_tenant(self, keyring: Keyring, headers: Iterable[tuple[bytes, bytes]]) -> Tenant:
        tenant = keyring.find(_find_key(headers))
        if tenant is None:
            raise Unauthorized(is_missing=False)
        return tenant

    def _check_host(self, value: str) -> None:
        assert self._hosts is not None
        host = _strip_port(value).lower()
        is_own = host.endswith(".localhost") or is_loopback(host) or not {".", ":"}.intersection(host)
        if not is_own and host not in self._hosts:
            raise Forbidden(
                "The name in the Host header is not one of this server's. The operator may add it with --allowed-host."
            )


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def client_address(scope: Scope) -> str:
    """The other end of a connection: no header is believed, which any client could write. Empty if it has none."""
    client = scope.get("client")
    return client[0] if client else ""


def _find_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The one key of a request.

    Raises:
        Unauthorized: there is none, or there are several: no two parties must be able to read a request differently.
    """
    names: list[bytes] = []
    keys: set[bytes] = set()
    for name, value in headers:
        if name not in (_BEARER, _BARE):
            continue
        names.append(name)
        if name == _BEARER:
            scheme, _, value = value.partition(b" ")
            if scheme.lower() != b"bearer":
                raise Unauthorized(is_missing=False)
        keys.add(value)
    if not keys:
        raise Unauthorized(is_missing=True)
    if len(keys) > 1 or len(set(names)) < len(names):
        raise Unauthorized(is_missing=False)
    return keys.pop()


def _strip_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
