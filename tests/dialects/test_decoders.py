"""Whatever a client sends, decoding gives a request or a `RequestError`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.core.dialect import Describe, RawRequest, Route, Shutdown, Stop
from portico.core.errors import RequestError
from portico.core.request import DetokenizeRequest, GenerationRequest, TokenizeRequest
from tests.dialects.golden import DIALECTS, exists, load_dialect, raw_request

# Of the processor; a crowd of values that costs minutes is what is meant, not a slow machine.
MAX_SECONDS = 3.0
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.integers(-3, 200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


def _decoding_routes() -> list[tuple[str, Route]]:
    return [
        (name, route)
        for name in filter(exists, DIALECTS)
        for route in load_dialect(name).routes
        if not isinstance(route.operation, Describe)
    ]


def _decode(route: Route, body: bytes) -> None:
    assert not isinstance(route.operation, Describe)
    params = {part.split(":")[0]: "demo" for part in _path_params(route.path)}
    raw: RawRequest = raw_request(route.method, route.path, body, path_params=params)
    if route.claim is not None:
        assert route.claim.accepts(body) in (True, False)
    try:
        exchange: Any = route.operation.decode(raw)
    except RequestError:
        return
    if not isinstance(route.operation, Stop | Shutdown):
        assert isinstance(exchange.request, GenerationRequest | TokenizeRequest | DetokenizeRequest)


def _path_params(path: str) -> list[str]:
    return [part.split("}")[0] for part in path.split("{")[1:]]


_routes: Callable[..., pytest.MarkDecorator] = pytest.mark.parametrize(
    ("name", "route"),
    [pytest.param(name, route, id=f"{name}-{route.path}") for name, route in _decoding_routes()],
)


@_routes
@given(data=st.data())
def test_random_fields(name: str, route: Route, data: st.DataObject) -> None:
    ledgers = load_dialect(name).ledgers
    fields = sorted({entry.field for ledger in ledgers for entry in ledger.entries})
    content = data.draw(st.dictionaries(st.sampled_from(fields) | st.text(max_size=4), _values, max_size=6))
    _decode(route, json.dumps(content).encode())


@_routes
@given(value=_values)
def test_random_json(name: str, route: Route, value: object) -> None:
    _decode(route, json.dumps(value).encode())


@_routes
@given(body=st.binary(max_size=40))
def test_random_bytes(name: str, route: Route, body: bytes) -> None:
    _decode(route, body)


@_routes
@pytest.mark.parametrize(
    "body",
    [
        b'{"a":[' + b"{}," * 500_000 + b"{}]}",
        b'{"inputs":[' + b"[]," * 500_000 + b"[]]}",
        b'{"prompt":"' + b"," * 1_000_001 + b'"}',
        b'{"a":0,' + b",".join(b'"%d":0' % number for number in range(300_000)) + b',"a":0}',
    ],
)
def test_crowded_json_is_refused_soon(name: str, route: Route, body: bytes) -> None:
    started_at = time.thread_time()
    _decode(route, body)
    assert time.thread_time() - started_at < MAX_SECONDS


@_routes
@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"prompt":' * 50_000, b'{"a":' + b"9" * 10_000 + b"}"])
def test_monstrous_json(name: str, route: Route, body: bytes) -> None:
    _decode(route, body)
