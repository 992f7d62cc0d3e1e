"""What requests are called."""

from __future__ import annotations

import pytest

from portico.web.identity import identify

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("name", ["a", "req-1:x/y", "~" * 128, '"quoted"'])
def test_a_client_names_its_request(name: str) -> None:
    identity = identify([(b"x-request-id", name.encode())])
    assert identity.name == identity.headers["x-request-id"] == name
    assert identity.request_id != name


@pytest.mark.parametrize("name", [b"", b"a" * 129, b"a b", b"a\nb", b"a\n", b"a\x00", "\u00fc".encode(), b"\xff"])
def test_names_that_are_none_are_replaced(name: bytes) -> None:
    identity = identify([(b"x-request-id", name)])
    assert identity.name == identity.request_id


def test_no_two_are_called_alike_by_us() -> None:
    same = [(b"x-request-id", b"same")]
    assert identify(same).request_id != identify(same).request_id
    assert identify([], "ours").name == "ours"


@pytest.mark.parametrize(
    "value", [f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00", f"cc-{TRACE}-{PARENT}-01-what-comes-later"]
)
def test_traces(value: str) -> None:
    identity = identify([(b"traceparent", value.encode())])
    assert identity.trace_id == TRACE
    version, trace, span, flags = identity.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, value.split("-")[3])
    assert span == identity.request_id[:16] != PARENT


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01x",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}\r\n-{PARENT}-01",
    ],
)
def test_traces_that_are_none(value: str) -> None:
    identity = identify([(b"traceparent", value.encode())])
    assert identity.trace_id == ""
    assert "traceparent" not in identity.headers
