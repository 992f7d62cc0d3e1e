"""Compressed bodies, and how much of them is ever unpacked."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import replace
from typing import Any

import pytest

from portico.core.dialect import Generate
from portico.core.errors import MalformedRequest, PayloadTooLarge
from portico.core.events import Result, fold
from portico.dialects.triton.compression import compress, decompress
from tests.dialects.compact import event
from tests.dialects.golden import LIMITS, find_route, load_dialect, raw_request

_BODY = json.dumps({"inputs": [{"name": "text_input", "shape": [1], "datatype": "BYTES", "data": ["hi"]}]}).encode()
_RESULT = fold([event(form) for form in (["started", "demo", [1]], ["delta", 0, "a", [6]], ["finished", 0])])


def infer(body: bytes, headers: dict[str, str], max_body_size: int = 1000) -> Any:
    route, path_params = find_route(load_dialect("triton"), "POST", "/v2/models/demo/infer")
    assert isinstance(route.operation, Generate)
    limits = replace(LIMITS, max_body_size=max_body_size)
    raw = raw_request("POST", "/", body, path_params=path_params, headers=headers, limits=limits)
    return route.operation.decode(raw)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_both_ways(encoding: str, pack: Any) -> None:
    exchange = infer(pack(_BODY), {"content-encoding": encoding, "accept-encoding": f"br, {encoding}"})
    assert exchange.request.prompts[0].text == "hi"
    result: Result = _RESULT
    reply = exchange.reply(result)
    assert reply.headers["Content-Encoding"] == encoding
    plain = decompress(reply.body, {"content-encoding": encoding}, 1000)
    assert json.loads(plain)["outputs"][0]["data"] == ["hia"]


def test_the_limit_is_of_what_is_unpacked() -> None:
    body = _BODY + b" " * (1000 - len(_BODY))
    infer(gzip.compress(body), {"content-encoding": "gzip"})
    with pytest.raises(PayloadTooLarge):
        infer(gzip.compress(body + b" "), {"content-encoding": "gzip"})


def test_a_bomb_is_not_unpacked() -> None:
    with pytest.raises(PayloadTooLarge):
        decompress(gzip.compress(bytes(100_000_000), 9), {"content-encoding": "gzip"}, 1000)


@pytest.mark.parametrize(
    "body", [b"", b"x", gzip.compress(b"abc", mtime=0)[:-1], gzip.compress(b"abc", mtime=0) + b"x"]
)
def test_broken_streams(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        decompress(body, {"content-encoding": "gzip"}, 1000)


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("", "identity"),
        ("br", "identity"),
        ("gzip, deflate, br", "gzip"),
        ("deflate, gzip", "deflate"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip;q=0.5, identity", "identity"),
        ("gzip;q=0", "identity"),
        ("gzip;q=much", "identity"),
    ],
)
def test_what_the_client_likes(accepted: str, encoding: str) -> None:
    assert compress(b"x", {"accept-encoding": accepted})[1] == encoding
