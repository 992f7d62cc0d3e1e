"""What is read from the report of a run over the OpenAPI document."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from reliability.contract import Findings

_DOCUMENT: dict[str, Any] = {
    "paths": {
        "/write": {"post": {"responses": {"200": {}, "500": {}, "503": {}}}},
        "/order": {"post": {"responses": {"503": {}}}},
    }
}


def _scenario(label: str, code: int, body: str = "", **check: Any) -> dict[str, Any]:
    method, path = label.split()
    request = {"method": method, "uri": path, "body": {"$base64": base64.b64encode(body.encode()).decode()}}
    interactions = {"case": {"request": request, "response": {"status_code": code}}}
    return {
        "ScenarioFinished": {"recorder": {"label": label, "interactions": interactions, "checks": {"case": [check]}}}
    }


def _read(tmp_path: Path, *events: dict[str, Any]) -> Findings:
    report = tmp_path / "report.ndjson"
    report.write_text("\n".join(map(json.dumps, events)), encoding="utf-8")
    findings = Findings(_DOCUMENT)
    findings.read(report)
    return findings


def test_errors_of_the_server_are_problems_though_the_document_has_them(tmp_path: Path) -> None:
    fine = {"name": "status_code_conformance", "status": "success"}
    found = _read(
        tmp_path,
        _scenario("POST /write", 500, "x", **fine),
        _scenario("POST /write", 503, '{"prompt": "x"}', **fine),
        _scenario("POST /order", 503, **fine),
        _scenario("POST /write", 503, '{"timeout": 1}', **fine),
        _scenario("POST /write", 501, **fine),
        _scenario("POST /write", 200, **fine),
    )
    assert set(found.problems) == {("POST /write", "500"), ("POST /write", "503")}
    assert found.problems["POST /write", "500"] == "POST /write x"
    assert found.statuses == {500: 1, 503: 3, 501: 1, 200: 1}


def test_failed_checks_lost_answers_and_errors_of_the_tool_are_problems(tmp_path: Path) -> None:
    failed = {"name": "status_code_conformance", "status": "failure"}
    silent = _scenario("POST /order", 200, name="none", status="success")
    del silent["ScenarioFinished"]["recorder"]["interactions"]["case"]["response"]
    found = _read(
        tmp_path,
        _scenario("POST /write", 418, failure_info={"failure": {"message": "Received: 418"}}, **failed),
        silent,
        {"NonFatalError": {"label": "GET /read", "value": "no schema"}},
    )
    assert set(found.problems) == {
        ("POST /write", "status_code_conformance: Received: 418"),
        ("POST /order", "no answer"),
        ("GET /read", "not run"),
    }
