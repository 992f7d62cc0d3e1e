"""What golden cases cannot write down."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from portico.core.errors import InvalidParameter
from portico.core.events import Alternative, Delta, Started, Token
from portico.dialects.tgi.decode import claims
from portico.dialects.tgi.layout import top_tokens
from tests.dialects.golden import LIMITS, decode, load_dialect


def test_impossible_alternatives_are_left_out() -> None:
    possible = Alternative(1, "a", b"a", -0.5, special=False)
    impossible = Alternative(2, "b", b"b", -math.inf, special=False)
    token = Token(1, "a", b"a", False, -0.5, (possible, impossible))
    assert [each.id for each in top_tokens(token, 5)] == [1]


def test_tokens_are_not_held_back() -> None:
    exchange = decode(load_dialect("tgi"), "/generate_stream", b'{"inputs":"hi"}')
    encoder = exchange.encoder()
    first, second = (Token(number, "a", b"a", False, -0.5, ()) for number in (1, 2))
    assert encoder.feed([Started("demo", (1,))]) == b""
    assert encoder.feed([Delta(0, "a", (1,), (first,))]).startswith(b'data: {"index":1,')
    assert encoder.feed([Delta(0, "a", (2,), (second,))]).startswith(b'data: {"index":2,')


@pytest.mark.parametrize(
    ("body", "is_claimed"),
    [
        (b'{"inputs":"hi"}', True),
        (b'{"inputs":null}', False),
        (b'{"prompt":"hi"}', False),
        (b"[1]", False),
        (b"{", False),
    ],
)
def test_claim(body: bytes, is_claimed: bool) -> None:
    assert claims(body) is is_claimed


def test_alternatives_follow_the_operators_limit() -> None:
    limits = replace(LIMITS, max_logprobs=2)
    body = b'{"inputs":"hi","parameters":{"top_n_tokens":3}}'
    with pytest.raises(InvalidParameter, match="<= 2"):
        decode(load_dialect("tgi"), "/generate", body, limits)
