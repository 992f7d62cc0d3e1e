"""What clients see when the engine's process dies, and when they send what cannot be served."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.server import RunningServer, run_server

GREETING = {"model": "qwen-72b", "messages": [{"role": "user", "content": "Hello!"}]}


def find_worker(server: RunningServer) -> int:
    """The process id of the engine: the server's child that runs the model."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    workers = [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert len(workers) == 1
    return int(workers[0])


def wait_until_ready(address: str) -> None:
    for _ in range(600):
        if httpx.get(f"{address}/v2/health/ready").status_code == 200:
            return
        time.sleep(0.1)
    raise AssertionError("the server is not ready again")


def test_a_killed_engine_fails_its_requests_and_comes_back() -> None:
    with run_server() as server, httpx.Client(base_url=server.address, timeout=60) as client:
        endless = {**GREETING, "stream": True, "ignore_eos": True, "max_tokens": 1500}
        with client.stream("POST", "/v1/chat/completions", json=endless) as response:
            lines = response.iter_lines()
            for _ in range(6):
                next(lines)
            os.kill(find_worker(server), signal.SIGKILL)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert json.loads(rest[-2].removeprefix("data: "))["error"]["type"] == "server_error"
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/v2/health/ready").status_code != 200
        refused = client.post("/v1/chat/completions", json=GREETING)
        assert refused.status_code == 503
        assert "message" in refused.json()["error"]
        wait_until_ready(server.address)
        assert client.post("/v1/chat/completions", json=GREETING).status_code == 200


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
