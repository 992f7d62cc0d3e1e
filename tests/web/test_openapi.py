from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from portico.core.dialect import Describe, Route
from portico.core.form import PART_PREFIX, Form, Schema
from portico.web.openapi import build_document
from portico.web.routing import build_paths
from tests.web.fake_dialect import FakeDialect, describe

_TEXT = Schema({"$ref": f"{PART_PREFIX}fake.Text"}, {"fake.Text": {"type": "string"}})
_FORM = Form(body=lambda: _TEXT, binary="image/png", answers={200: ("text/plain",), 202: ()})


@dataclass(frozen=True)
class FormedDialect(FakeDialect):
    """The same with a form, and with a path that needs no key."""

    form: Form = _FORM

    @property
    def routes(self) -> tuple[Route, ...]:
        write, *others = super().routes
        health = Route("GET", "/health", Describe(describe), is_open=True)
        return (replace(write, form=self.form), *others, health)


def document(*dialects: FakeDialect, has_keys: bool = True) -> dict[str, Any]:
    precedence = {("POST", "/write"): [each.name for each in dialects]} if len(dialects) > 1 else {}
    precedence[("GET", "/health")] = [each.name for each in dialects]
    return build_document(dialects, build_paths(dialects, precedence), ("/page",), "7", has_keys=has_keys)


def statuses(operation: dict[str, Any]) -> set[int]:
    return set(map(int, operation["responses"]))


def response(described: dict[str, Any], operation: dict[str, Any], status: int) -> Any:
    name = operation["responses"][str(status)]["$ref"].removeprefix("#/components/responses/")
    return described["components"]["responses"][name]


def test_statuses_are_those_that_the_dialect_refuses_with() -> None:
    described = document(FormedDialect("one"))
    write = described["paths"]["/write"]["post"]
    assert statuses(write) == {200, 202, 400, 429, 500}
    assert set(response(described, write, 200)["content"]) == {"text/plain"}
    assert "content" not in response(described, write, 202)
    read = described["paths"]["/one/{name}/deep"]["get"]
    assert statuses(read) == {200, 400, 500}
    assert [each["name"] for each in read["parameters"]] == ["name"]


def test_bodies_are_those_of_all_dialects_that_may_be_reached() -> None:
    described = document(FormedDialect("one", claims="x"), FakeDialect("two"), FormedDialect("three"))
    write = described["paths"]["/write"]["post"]
    assert set(write["requestBody"]["content"]) == {"application/json", "image/png"}
    assert described["components"]["schemas"] == {"fake.Text": {"type": "string"}}
    both = document(FormedDialect("one", claims="x"), FormedDialect("two", claims="y"), FormedDialect("three"))
    schema = both["paths"]["/write"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"anyOf": [_TEXT.root] * 3}


def test_keys_are_asked_for_where_the_guard_asks_for_them() -> None:
    described = document(FormedDialect("one"))
    assert described["paths"]["/write"]["post"]["security"] == [{"bearer": []}, {"key": []}]
    assert described["paths"]["/page"]["get"]["security"]
    assert not described["paths"]["/health"]["get"]["security"]
    assert not document(FormedDialect("one"), has_keys=False)["paths"]["/write"]["post"]["security"]
