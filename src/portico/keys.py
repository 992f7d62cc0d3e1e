"""API keys as the operator gives them: flags, the environment, a file of named keys with limits."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from portico.core.tenant import NO_QUOTA, Quota, Tenant
from portico.service.keyring import MAX_KEY_LENGTH, Keyring, digest

_LIMITS = tuple(each.name for each in fields(Quota))
_FIELDS = ("key", "sha256", "operator", "paths", *_LIMITS)


class KeyConfigError(Exception):
    """Keys cannot be used as they were given; the message is one sentence for the operator and holds no key."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One key with whose it is and what that gives."""

    digest: bytes = field(repr=False)
    name: str
    quota: Quota
    is_operator: bool
    paths: tuple[str, ...] | None = None


class Keys:
    """All keys together, of flags, of the environment and of a file that can be read again.

    Keys of flags and of the environment are the operator's. Those of the file are so where it says it. Every name has a
    salt that nobody can guess and that is forgotten when the server ends.

    Attributes:
        keyring: with them; None where none were given, so that everybody is let in.
        file: where further ones are, if anywhere.
    """

    def __init__(self, flags: Sequence[str], environment: str | None, file: str | None) -> None:
        """Reads them; of those that are given themselves only the digests are kept.

        Raises:
            KeyConfigError: a key is empty or cannot be sent, two owners have the same, or the file is not as it should
                be.
        """
        self._secret = secrets.token_bytes(32)
        self._given = list(_read_given(flags, environment))
        self.file = None if file is None else Path(file)
        found = self._find()
        self.keyring = Keyring(found.items()) if found else None

    def reload(self) -> None:
        """Reads the file again: who is not in it any more is not let in any more.

        Raises:
            KeyConfigError: as at first; nothing has changed then.
        """
        assert self.keyring is not None
        self.keyring.replace(self._find().items())

    def _find(self) -> dict[bytes, Tenant]:
        found: dict[bytes, Tenant] = {}
        for entry in self._entries():
            salt = hmac.new(self._secret, entry.name.encode(), hashlib.sha256).hexdigest()
            tenant = Tenant(entry.name, salt, entry.quota, entry.is_operator, entry.paths)
            if found.setdefault(entry.digest, tenant) != tenant:
                raise KeyConfigError(f"{found[entry.digest].name} and {entry.name} have the same API key")
        return found

    def _entries(self) -> Iterator[_Entry]:
        yield from self._given
        taken = {entry.name for entry in self._given}
        for entry in () if self.file is None else _read_file(self.file):
            if entry.name in taken:
                raise KeyConfigError(f"{self.file} has the name {entry.name}, which the key given besides has already")
            yield entry


def _read_given(flags: Sequence[str], environment: str | None) -> Iterator[_Entry]:
    for index, key in enumerate(dict.fromkeys(flags), 1):
        yield _Entry(_digest(key, f"key {index} of --api-key"), f"flag-{index}", NO_QUOTA, True)
    if environment is not None and environment not in flags:
        yield _Entry(_digest(environment, "PORTICO_API_KEY"), "environment", NO_QUOTA, True)


def _read_file(path: Path) -> Iterator[_Entry]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KeyConfigError(f"cannot read the API keys in {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        # What the parser says of it may hold a key.
        raise KeyConfigError(f"{path} is not a TOML file of API keys") from None
    if not content:
        raise KeyConfigError(f"{path} has no API keys")
    for name, value in content.items():
        yield from _read_tenant(path, name, value if isinstance(value, dict) else {"key": value})


def _read_tenant(path: Path, name: str, table: Mapping[str, Any]) -> Iterator[_Entry]:
    place = f"{name} in {path}"
    if not name or not name.isprintable():
        raise KeyConfigError(f"{path} has a name that is empty or cannot be printed")
    for key in table:
        if key not in _FIELDS:
            raise KeyConfigError(f"{place} has the field {key}, which is not one of {', '.join(_FIELDS)}")
    limits = {limit: _limit(table[limit], f"{limit} of {place}") for limit in _LIMITS if limit in table}
    is_operator = table.get("operator", False)
    if not isinstance(is_operator, bool):
        raise KeyConfigError(f"operator of {place} must be true or false")
    digests = [_digest(each, f"the key of {place}") for each in _several(table.get("key", []))]
    digests += [_given_digest(each, place) for each in _several(table.get("sha256", []))]
    if not digests:
        raise KeyConfigError(f"{place} has neither key nor sha256")
    for each in digests:
        yield _Entry(each, name, Quota(**limits), is_operator, _paths(table.get("paths"), place))


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _paths(value: Any, place: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    given = _several(value)
    if not given or not all(isinstance(each, str) and each.startswith("/") and "*" not in each[:-1] for each in given):
        raise KeyConfigError(f"paths of {place} must begin with / and have * at the end only")
    return tuple(given)


def _limit(value: Any, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise KeyConfigError(f"{place} must be a whole number of at least 1")
    return value


def _digest(key: Any, place: str) -> bytes:
    """The digest of a key that a header can carry."""
    if not isinstance(key, str) or not key:
        raise KeyConfigError(f"{place} is empty or not a text")
    if not key.isascii() or not key.isprintable() or " " in key or len(key) > MAX_KEY_LENGTH:
        raise KeyConfigError(f"{place} must have at most {MAX_KEY_LENGTH} printable ASCII characters and no space")
    return digest(key.encode())


def _given_digest(value: Any, place: str) -> bytes:
    try:
        found = bytes.fromhex(value)
    except (TypeError, ValueError):
        found = b""
    if len(found) != hashlib.sha256().digest_size:
        raise KeyConfigError(f"sha256 of {place} must have 64 hexadecimal digits")
    return found
