"""Valid bodies that are changed in a few places decode to a request, or to a refusal with its status."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.core.dialect import Describe, Dialect, Route
from portico.core.errors import RequestError
from reliability.surfaces import Surface, surfaces
from tests.dialects.golden import find_route, load_dialect, raw_request

_SURFACES = surfaces("demo")
_STRANGE: st.SearchStrategy[Any] = st.sampled_from(
    (
        None,
        True,
        False,
        0,
        -1,
        1.5,
        10**30,
        -(2**63),
        1e308,
        "",
        "x",
        "\x00",
        "\U0010ffff",
        [],
        [[]],
        [None],
        {},
        {"": {}},
    )
)
_PARTS: st.SearchStrategy[Any] = st.recursive(
    _STRANGE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)


@pytest.mark.parametrize("surface", _SURFACES, ids=lambda surface: surface.name)
@settings(max_examples=25)
@given(data=st.data())
def test_changed_bodies(surface: Surface, data: st.DataObject) -> None:
    dialect = load_dialect(surface.wire)
    body = copy.deepcopy(dict(surface.body))
    fields = sorted({entry.field for ledger in dialect.ledgers for entry in ledger.entries})
    for _ in range(data.draw(st.integers(1, 4))):
        place: Any = data.draw(st.sampled_from(_containers(body)))
        key: Any
        if isinstance(place, dict):
            key = data.draw(st.sampled_from([*sorted(place), *fields]))
            place[key] = copy.deepcopy(data.draw(_PARTS))
        elif place:
            key = data.draw(st.integers(0, len(place) - 1))
            place[key] = copy.deepcopy(data.draw(_PARTS))
    _decode(dialect, surface.path, json.dumps(body).encode())


@pytest.mark.parametrize("surface", _SURFACES, ids=lambda surface: surface.name)
@settings(max_examples=25)
@given(data=st.data())
def test_changed_bytes(surface: Surface, data: st.DataObject) -> None:
    body = bytearray(json.dumps(dict(surface.body)).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    _decode(load_dialect(surface.wire), surface.path, bytes(body))


def _containers(value: Any) -> list[Any]:
    """Every object and list in a body, itself included."""
    if isinstance(value, dict):
        return [value, *(found for each in value.values() for found in _containers(each))]
    if isinstance(value, list):
        return [value, *(found for each in value for found in _containers(each))]
    return []


def _decode(dialect: Dialect, path: str, body: bytes) -> None:
    route: Route
    route, path_params = find_route(dialect, "POST", path)
    raw = raw_request("POST", path, body, path_params=path_params)
    if route.claim is not None:
        assert route.claim.accepts(body) in (True, False)
    assert not isinstance(route.operation, Describe)
    try:
        route.operation.decode(raw)
    except RequestError as error:
        reply = route.refuse(raw, error) if route.refuse else dialect.refuse(error)
        assert 400 <= reply.status < 500 or (_streams_errors(path) and reply.status == 200) or reply.status == 501


def _streams_errors(path: str) -> bool:
    """Whether errors of a path can be events under status 200."""
    return any(each.path == path and each.wire == "tgi" for each in _SURFACES)
