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
_FIELDS = ("key", "sha256", "operator", *_LIMITS)


class KeyConfigError(Exception):
    """Keys cannot be used as they were given; the message is one sentence for the operator and holds no key."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One key with whose it is and what that gives."""

    digest: bytes = field(repr=False)
    name: str
    quota: Quota
    is_operator: bool


def read_keys(flags: Sequence[str], environment: str | None, file: str | None) -> Keyring | None:
    """All keys together; None where none are given, so that everybody is let in.

    Keys of flags and of the environment are the operator's. Those of the file are so where it says it. Every name has a
    salt that nobody can guess and that is forgotten when the server ends.

    Raises:
        KeyConfigError: a key is empty or cannot be sent, two owners have the same, or the file is not as it should be.
    """
    entries = [
        _Entry(_digest(key, f"key {index} of --api-key"), f"flag-{index}", NO_QUOTA, True)
        for index, key in enumerate(dict.fromkeys(flags), 1)
    ]
    if environment is not None and environment not in flags:
        entries.append(_Entry(_digest(environment, "PORTICO_API_KEY"), "environment", NO_QUOTA, True))
    if file is not None:
        taken = {entry.name for entry in entries}
        for entry in _read_file(Path(file)):
            if entry.name in taken:
                raise KeyConfigError(f"{file} has the name {entry.name}, which the key given besides has already")
            entries.append(entry)
    return _build_keyring(entries) if entries else None


def _build_keyring(entries: Sequence[_Entry]) -> Keyring:
    secret = secrets.token_bytes(32)
    found: dict[bytes, Tenant] = {}
    for entry in entries:
        salt = hmac.new(secret, entry.name.encode(), hashlib.sha256).hexdigest()
        tenant = Tenant(entry.name, salt, entry.quota, entry.is_operator)
        if found.setdefault(entry.digest, tenant) != tenant:
            raise KeyConfigError(f"{found[entry.digest].name} and {entry.name} have the same API key")
    return Keyring(found.items())


def _read_file(path: Path) -> Iterator[_Entry]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KeyConfigError(f"cannot read the API keys in {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
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
        yield _Entry(each, name, Quota(**limits), is_operator)


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


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
