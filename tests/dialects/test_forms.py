"""The schemas of bodies say what the decoders do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema_rs
import pytest

from portico.app import build_dialects, find_precedence
from portico.config import ServerConfig
from portico.core.ledger import Treatment
from portico.web.openapi import build_document
from portico.web.routing import build_paths
from reliability.surfaces import Surface, surfaces

_SURFACES = {each.name: each for each in surfaces("portico-demo")}


def document(profile: str = "default") -> Mapping[str, Any]:
    dialects = build_dialects(ServerConfig(profile=profile))
    paths = build_paths(dialects, find_precedence(profile), for_operators=True)
    return build_document(dialects, paths, (), "1", has_keys=True)


@pytest.fixture(scope="module")
def is_valid() -> Callable[[str, Any], bool]:
    """Whether a body is one that the document allows on a path."""
    described = document()
    patterns = {
        re.compile(re.sub(r"{\w+}", "[^/]+", path) + r"\Z"): item["post"]["requestBody"]["content"]["application/json"]
        for path, item in described["paths"].items()
        if "requestBody" in item.get("post", {})
    }
    validators = {
        pattern: jsonschema_rs.Draft202012Validator({**content["schema"], "components": described["components"]})
        for pattern, content in patterns.items()
    }

    def check(path: str, body: Any) -> bool:
        found = [validator for pattern, validator in validators.items() if pattern.match(path)]
        assert len(found) == 1, path
        return bool(found[0].is_valid(body))

    return check


@pytest.mark.parametrize("surface", _SURFACES.values(), ids=_SURFACES)
def test_bodies_that_are_answered_are_allowed(surface: Surface, is_valid: Callable[[str, Any], bool]) -> None:
    assert is_valid(surface.path, dict(surface.body))
    assert not is_valid(surface.path, {**surface.body, "no_such_field": 1})
    for name in surface.body:
        wrong = {**surface.body, name: [[1.5]]}
        assert not is_valid(surface.path, wrong), name


def test_null_is_allowed_where_it_is_as_good_as_nothing(is_valid: Callable[[str, Any], bool]) -> None:
    assert is_valid("/generate", {"inputs": "x", "parameters": {"seed": None, "stop": None}, "stream": None})
    assert is_valid("/v1/completions", {"prompt": "x", "suffix": None, "stream_options": None})
    assert not is_valid("/v1/completions", {"prompt": "x", "suffix": "y"})
    assert not is_valid("/v1/completions", {"prompt": "x", "stream_options": {"include_usage": 1}})


@pytest.mark.parametrize("profile", ["default", "tgi", "mindie"])
def test_every_part_is_there_and_every_schema_holds(profile: str) -> None:
    described = document(profile)
    for name, schema in described["components"]["schemas"].items():
        jsonschema_rs.Draft202012Validator({**schema, "components": described["components"]})
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
    for item in described["paths"].values():
        for operation in item.values():
            for each in operation["responses"].values():
                if "$ref" in each:
                    assert each["$ref"].rpartition("/")[2] in described["components"]["responses"]
    ids = [operation["operationId"] for item in described["paths"].values() for operation in item.values()]
    assert len(set(ids)) == len(ids)


def test_every_route_that_decodes_a_body_describes_it() -> None:
    for dialect in build_dialects(ServerConfig(profile="tgi")):
        for route in dialect.routes:
            has_decoder = hasattr(route.operation, "decode") and route.method == "POST"
            assert not has_decoder or route.form.body is not None, route.path


def test_refused_fields_are_only_null() -> None:
    """Of every ledger, the fields that its schema allows, under the ledger's title."""
    described = document("tgi")
    by_title: dict[str, list[Any]] = {}
    for schema in [*described["components"]["schemas"].values(), *document()["components"]["schemas"].values()]:
        by_title.setdefault(schema.get("title", ""), []).append(schema)
    num_checked = 0
    for dialect in build_dialects(ServerConfig(profile="tgi")):
        for ledger in dialect.ledgers:
            for schema in by_title.get(ledger.title, ()):
                assert set(schema["properties"]) == {entry.field for entry in ledger.entries}
                refused = [entry.field for entry in ledger.entries if entry.treatment is Treatment.REFUSED]
                assert all(schema["properties"][name]["type"] == "null" for name in refused)
                num_checked += len(refused)
    assert num_checked > 20
