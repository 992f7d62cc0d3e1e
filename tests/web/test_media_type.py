"""Which kinds of bodies routes read."""

from __future__ import annotations

from typing import Any

import pytest

from portico.core.dialect import Describe, Generate, Route
from portico.core.errors import UnsupportedMediaType
from portico.web.media_type import check_media_type

_NOTHING: Any = None
_GENERATE = Generate(_NOTHING)
_DESCRIBE = Describe(_NOTHING)
STRICT = Route("POST", "/x", _GENERATE, needs_json_type=True)
LENIENT = Route("POST", "/x", _GENERATE)
READING = [LENIENT, STRICT]
FORMS = ["", "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data; b=1"]


def _headers(media_type: str) -> dict[str, str]:
    return {"content-type": media_type} if media_type else {}


@pytest.mark.parametrize("route", READING)
@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"]
)
def test_json_passes(route: Route, media_type: str) -> None:
    check_media_type({**_headers(media_type), "origin": "http://elsewhere"}, route)


@pytest.mark.parametrize("media_type", FORMS)
def test_what_a_bare_curl_sends_passes_where_the_wire_lets_it(media_type: str) -> None:
    check_media_type(_headers(media_type), LENIENT)
    with pytest.raises(UnsupportedMediaType):
        check_media_type(_headers(media_type), STRICT)


@pytest.mark.parametrize("route", READING)
@pytest.mark.parametrize("media_type", FORMS)
@pytest.mark.parametrize("origin", ["http://elsewhere", "null"])
def test_forms_of_web_pages_do_not(route: Route, media_type: str, origin: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        check_media_type({**_headers(media_type), "origin": origin}, route)


def test_tensors_pass_where_they_are_read() -> None:
    check_media_type({"content-type": "application/octet-stream", "origin": "http://elsewhere"}, LENIENT)


@pytest.mark.parametrize("route", [Route("GET", "/x", _GENERATE), Route("POST", "/x", _DESCRIBE)])
def test_routes_without_bodies_take_anything(route: Route) -> None:
    check_media_type({"content-type": "text/plain", "origin": "http://elsewhere"}, route)


def test_the_refusal_names_both_kinds() -> None:
    with pytest.raises(UnsupportedMediaType, match="application/json`, got 'text/plain'"):
        check_media_type({"content-type": "text/plain"}, STRICT)
