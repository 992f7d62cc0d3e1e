"""What clients see when they send what cannot be served."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.end_to_end.server import RunningServer, run_server

GREETING = {"model": "qwen-72b", "messages": [{"role": "user", "content": "Hello!"}]}


@pytest.fixture(scope="module")
def scripted_server() -> Iterator[RunningServer]:
    with run_server("--engine", "scripted", "--max-body-size", "100000") as server:
        yield server


BAD_REQUESTS = [
    ("/v1/chat/completions", "{", 400, "not valid JSON"),
    ("/v1/chat/completions", "[1]", 400, "JSON object"),
    ("/v1/chat/completions", "{}", 400, "messages"),
    ("/v1/chat/completions", json.dumps({**GREETING, "temperature": "hot"}), 400, "temperature"),
    ("/v1/chat/completions", json.dumps({**GREETING, "temperature": 3}), 400, "temperature"),
    ("/v1/chat/completions", json.dumps({**GREETING, "n": 10**6}), 400, "n"),
    ("/v1/chat/completions", json.dumps({**GREETING, "nonsense": 1}), 400, "nonsense"),
    ("/v1/chat/completions", json.dumps({**GREETING, "model": "other"}), 404, "other"),
    ("/v1/chat/completions", json.dumps({"messages": [{"role": "user", "content": "x" * 90000}]}), 400, "context"),
    ("/v1/chat/completions", "x" * 100001, 413, "100000"),
    ("/v1/chat/completions", "[" * 100000, 400, "nested"),
    ("/v1/completions", json.dumps({"prompt": [10**9]}), 400, "vocabulary"),
    ("/v1/nothing", "{}", 404, "/v1/nothing"),
    ("/generate", "{", 422, "`prompt`"),
    ("/generate", json.dumps({"text": "x"}), 422, "`inputs`"),
    ("/generate", json.dumps({"prompt": "x", "temperature": -1}), 400, "temperature"),
    ("/generate", json.dumps({"inputs": "x", "parameters": {"temperature": 0}}), 422, "temperature"),
    ("/generate", json.dumps({"inputs": "x", "parameters": {"top_p": 1.0}}), 422, "top_p"),
    ("/generate", json.dumps({"inputs": ["x"]}), 422, "inputs"),
    ("/generate_stream", json.dumps({"inputs": ""}), 200, "cannot be empty"),
    ("/v2/models/nothing/generate", json.dumps({"text_input": "x"}), 404, "nothing"),
    ("/v2/models/portico-demo/generate", "{}", 400, "text_input"),
    ("/v2/models/portico-demo/generate", "{", 400, ""),
    ("/v2/nothing", "{}", 404, ""),
    ("/infer", json.dumps({"inputs": "x", "parameters": {"temperature": -1}}), 422, "temperature"),
]


@pytest.mark.parametrize(("path", "body", "status", "words"), BAD_REQUESTS)
def test_bad_input_is_refused_in_its_dialects_shape(
    scripted_server: RunningServer, path: str, body: str, status: int, words: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(scripted_server.address + path, content=body, headers=headers, timeout=30)
    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert "Traceback" not in answer.text
    if answer.headers["content-type"] == "application/json":
        error = answer.json()["error"]
        assert (error["message"] if isinstance(error, dict) else error) != ""
    fine = httpx.post(f"{scripted_server.address}/generate", json={"prompt": "x"}, timeout=30)
    assert fine.status_code == 200


def test_metrics_and_logs_tell_of_requests_without_their_text(scripted_server: RunningServer) -> None:
    secret = "an unmistakable prompt"
    httpx.post(f"{scripted_server.address}/generate", json={"prompt": secret}, timeout=30)
    metrics = httpx.get(f"{scripted_server.address}/metrics").text
    assert 'portico_requests_accepted_total{dialect="vllm",model_name="portico-demo"}' in metrics
    time.sleep(0.1)
    log = "".join(scripted_server.output)
    assert "route=/generate" in log
    assert secret not in log + metrics
