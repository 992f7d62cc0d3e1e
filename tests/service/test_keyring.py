"""Keys are found by their digests, and only by the whole of them."""

from __future__ import annotations

from typing import Any

import pytest

from portico.core.tenant import Tenant
from portico.service import keyring
from portico.service.keyring import MAX_KEY_LENGTH, Keyring, digest

ALICE, BOB = Tenant("alice", "salt-a"), Tenant("bob", "salt-b")
KEYS = Keyring([(digest(b"sk-alice"), ALICE), (digest(b"sk-bob"), BOB), (digest(b"sk-bob-2"), BOB)])


def test_whole_keys_are_found() -> None:
    assert KEYS.find(b"sk-alice") is ALICE
    assert KEYS.find(b"sk-bob") is KEYS.find(b"sk-bob-2") is BOB
    assert KEYS.names == ("alice", "bob")


@pytest.mark.parametrize(
    "key", [b"", b"sk-alic", b"sk-alicee", b"SK-ALICE", b" sk-alice", b"\xff\xfe", b"x" * (MAX_KEY_LENGTH + 1)]
)
def test_nothing_else_is(key: bytes) -> None:
    assert KEYS.find(key) is None


def test_every_digest_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those behind the right one: the time must not tell the place of a key."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(known: bytes, given: bytes) -> bool:
        compared.append((known, given))
        return known == given

    class Hmac:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(keyring, "hmac", Hmac)
    for key in (b"sk-alice", b"wrong"):
        compared.clear()
        KEYS.find(key)
        assert len(compared) == 3
        assert {given for _, given in compared} == {digest(key)}


def test_no_key_is_kept() -> None:
    def texts(value: Any) -> str:
        return repr(value) + "".join(texts(each) for each in getattr(value, "_tenants", ()))

    assert "sk-" not in texts(KEYS)
    assert "salt" not in repr(ALICE)
