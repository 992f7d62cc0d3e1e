"""`GET /openapi.json` of a started server."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from tests.end_to_end.server import run_server

_GENERATED = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_document_is_served_to_those_with_a_key() -> None:
    with run_server("--engine", "scripted", "--api-key", "sk-one") as server:
        address = f"{server.address}/openapi.json"
        assert httpx.get(address).status_code == 401
        answer = httpx.get(address, headers={"Authorization": "Bearer sk-one"})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == json.loads(_GENERATED.read_text(encoding="utf-8"))
        assert httpx.post(address, headers={"Authorization": "Bearer sk-one"}).status_code == 405


def test_without_keys_none_is_asked_for_and_profiles_have_their_own() -> None:
    with run_server("--engine", "scripted", "--profile", "mindie") as server:
        paths = httpx.get(f"{server.address}/openapi.json").json()["paths"]
        assert not any(operation["security"] for item in paths.values() for operation in item.values())
        assert "422" in paths["/generate"]["post"]["responses"]
        assert "400" not in paths["/infer"]["post"]["responses"]
