"""What the server says of itself in its OpenAPI document, held against what it does, with requests made from that.

Schemathesis makes them: examples, a walk over what the schemas allow and forbid, and random ones of both kinds.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reliability.check import Check, Result, Settings
from reliability.server import Server, run_server

_CHECKS = "status_code_conformance,content_type_conformance,response_schema_conformance"
_SHOWN = 12
_SHOWN_BODY = 200
# Seconds of a run: after a walk over all operations it goes on with random requests until they are over.
_FULL_TIME, _SHORT_TIME = 300, 20
# Triton's word for what is not done here, such as sharing memory.
_NOT_IMPLEMENTED = 501
# A request that gives itself microseconds is told that they are over.
_OWN_TIMEOUT = re.compile(r'timeout"')


@dataclass(slots=True)
class Findings:
    """What the requests of a run came to."""

    document: Mapping[str, Any]
    statuses: Counter[int] = field(default_factory=Counter)
    labels: set[str] = field(default_factory=set)
    problems: dict[tuple[str, str], str] = field(default_factory=dict)

    def read(self, report: Path) -> None:
        """Takes in the events of a run, one JSON object in each line."""
        with report.open(encoding="utf-8") as lines:
            for line in lines:
                event = json.loads(line)
                if finished := event.get("ScenarioFinished"):
                    self._take(finished["recorder"])
                elif "NonFatalError" in event:
                    error = event["NonFatalError"]
                    self._note(str(error.get("label")), "not run", str(error.get("value"))[:_SHOWN_BODY])

    def _take(self, recorder: Mapping[str, Any]) -> None:
        label = recorder["label"]
        self.labels.add(label)
        for case, interaction in recorder.get("interactions", {}).items():
            request, response = interaction["request"], interaction.get("response")
            if response is None:
                self._note(label, "no answer", _show(request))
                continue
            status = response["status_code"]
            self.statuses[status] += 1
            if status >= 500 and not self._is_said(label, status, request):
                self._note(label, str(status), _show(request))
            for failure in _failures(recorder.get("checks", {}).get(case, ())):
                self._note(label, failure, f"{status} to {_show(request)}")

    def _note(self, label: str, kind: str, example: str) -> None:
        self.problems.setdefault((label, kind), example)

    def _is_said(self, label: str, status: int, request: Mapping[str, Any]) -> bool:
        """Whether it is an error of the server by its number only: an order that nobody takes, or the client's wish."""
        method, _, path = label.partition(" ")
        answers = self.document["paths"].get(path, {}).get(method.lower(), {}).get("responses", {})
        is_order = not any(each.startswith("2") for each in answers)
        return status == _NOT_IMPLEMENTED or is_order or bool(status == 503 and _OWN_TIMEOUT.search(_body(request)))


def _operations(document: Mapping[str, Any]) -> set[str]:
    return {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}


def _failures(checks: Any) -> Iterator[str]:
    for check in checks:
        if check["status"] == "failure":
            failure = check.get("failure_info", {}).get("failure", {})
            yield f"{check['name']}: {str(failure.get('message', ''))[:_SHOWN_BODY]}"


def _body(request: Mapping[str, Any]) -> str:
    body = request.get("body") or {}
    return base64.b64decode(body.get("$base64", "")).decode("utf-8", "replace")


def _show(request: Mapping[str, Any]) -> str:
    return f"{request['method']} {request['uri']} {_body(request)[:_SHOWN_BODY]}"


async def _run(settings: Settings, server: Server, report: Path) -> int:
    """One run of schemathesis; its exit code, which is 1 where a check failed."""
    address = "http://{}:{}".format(*server.address)
    max_time = settings.pick(_FULL_TIME, _SHORT_TIME)
    arguments = (
        *("run", f"{address}/openapi.json", "--checks", _CHECKS, "--phases", "examples,coverage,fuzzing"),
        *("--mode", "all", "--max-examples", str(settings.pick(300, 3)), "--max-time", str(max_time), "--seed", "1"),
        *("--no-shrink", "--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off"),
        # More threads make Python's own parser fail now and then, with which descriptions of strategies are written.
        *("--workers", "1", "--report", "ndjson", "--report-ndjson-path", str(report)),
    )
    with (settings.directory / "schemathesis.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=settings.directory,
        )
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _check_contract(settings: Settings) -> Result:
    report = settings.directory / "schemathesis.ndjson"
    problems: list[str] = []
    async with run_server(settings) as server:
        before = server.engine_identity()
        findings = Findings(json.loads((await server.request("GET", "/openapi.json")).body))
        code = await _run(settings, server, report)
        if code not in (0, 1):
            problems.append(f"schemathesis ended with {code}; see schemathesis.log")
        if await server.status("/health") != 200 or server.engine_identity() != before:
            problems.append("the server is not what it was")
    findings.read(report)
    found = [f"{label}: {kind}, such as {example}" for (label, kind), example in findings.problems.items()]
    problems += found[:_SHOWN] + ([f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else [])
    # It does not ask for the document that it has read.
    operations = _operations(findings.document) - {"GET /openapi.json"}
    problems += [f"{label}: no request was made" for label in sorted(operations - findings.labels)]
    kinds = ", ".join(f"{number} x {status}" for status, number in sorted(findings.statuses.items()))
    return Result.judge(f"{len(findings.labels)} operations: {kinds}", problems)


CHECKS = (
    Check(
        "X8",
        "Bad input",
        "requests made from the server's OpenAPI document, such as it allows and such as it does not",
        "no 5xx but of orders that nobody takes; no status, media type or shape that the document has not",
        _check_contract,
        is_quick=True,
        limit=180,
    ),
)
