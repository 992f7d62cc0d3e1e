"""Addresses that send many requests without a right key."""

from __future__ import annotations

from typing import Any

import pytest

from portico.core.errors import Unauthorized
from portico.core.tenant import Tenant
from portico.service.keyring import Keyring, digest
from portico.web import wrong_keys
from portico.web.grpc_call import _address
from portico.web.guard import Access, Guard, client_address
from portico.web.wrong_keys import TooManyWrongKeys, WrongKeys


class Clock:
    """Seconds that the test says."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def count(failures: WrongKeys, address: str) -> int:
    """The seconds that the address is told to wait, 0 if none."""
    try:
        failures.count(address)
    except TooManyWrongKeys as error:
        return error.retry_after
    return 0


def test_a_bucket_empties_and_fills_again() -> None:
    clock = Clock()
    failures = WrongKeys(6, clock)
    assert [count(failures, "192.0.2.1") for _ in range(8)] == [0] * 6 + [10, 10]
    assert count(failures, "192.0.2.2") == 0
    clock.now += 9
    assert count(failures, "192.0.2.1") == 1
    clock.now += 1
    assert [count(failures, "192.0.2.1") for _ in range(2)] == [0, 10]
    clock.now += 3600
    assert [count(failures, "192.0.2.1") for _ in range(7)] == [0] * 6 + [10]


def test_what_counts_as_one_address() -> None:
    failures = WrongKeys(1, Clock())
    assert count(failures, "2001:db8:1:2::1") == 0
    assert count(failures, "2001:db8:1:2:ffff::9") > 0
    assert count(failures, "2001:db8:1:3::1") == 0
    assert count(failures, "192.0.2.1") == 0
    assert count(failures, "::ffff:192.0.2.1") > 0
    assert count(failures, "fe80::1%eth0") == 0
    assert count(failures, "fe80::2%eth1") > 0
    assert count(failures, "") == 0
    assert count(failures, "") > 0


def test_so_many_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrong_keys, "_MAX_ADDRESSES", 10)
    failures = WrongKeys(1, Clock())
    for number in range(100):
        count(failures, f"192.0.2.{number}")
        assert count(failures, "198.51.100.1") == 0 if number == 0 else count(failures, "198.51.100.1") > 0
    assert len(failures._left) == 10


def test_a_right_key_is_let_in_from_an_address_that_must_wait() -> None:
    guard = Guard(Keyring([(digest(b"right"), Tenant("alice", ""))]), wrong_keys=WrongKeys(1, Clock()))
    right, wrong = [(b"x-api-key", b"right")], [(b"x-api-key", b"wrong")]
    with pytest.raises(Unauthorized):
        guard.admit(wrong, Access.KEY, "192.0.2.1")
    for headers in (wrong, [], [*right, *wrong]):
        with pytest.raises(TooManyWrongKeys):
            guard.admit(headers, Access.KEY, "192.0.2.1")
    for _ in range(5):
        assert guard.admit(right, Access.KEY, "192.0.2.1").name == "alice"
    assert guard.admit(wrong, Access.OPEN, "192.0.2.1").name == ""
    with pytest.raises(Unauthorized):
        guard.admit(wrong, Access.KEY, "192.0.2.2")


@pytest.mark.parametrize(
    ("peer", "address"),
    [("ipv4:127.0.0.1:8001", "127.0.0.1"), ("ipv6:%5B2001:db8::1%5D:80", "2001:db8::1"), ("ipv6:[::1]:80", "::1")],
)
def test_addresses_of_calls(peer: str, address: str) -> None:
    class Call:
        def peer(self) -> str:
            return peer

    call: Any = Call()
    assert _address(call) == address


def test_addresses_of_connections() -> None:
    assert client_address({"client": ("192.0.2.1", 80)}) == "192.0.2.1"
    assert client_address({"client": None}) == ""
