"""What clients see when the engine's process fails on a request, hangs or dies."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.end_to_end.server import (
    RunningServer,
    find_worker,
    kill_worker,
    read_metric,
    run_server,
    show_figure,
    wait_until,
    wait_until_running,
)
from tests.engines.native import faults

GREETING: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello!"}]}
LONG = {**GREETING, "ignore_eos": True, "max_tokens": 1500}
Post = Callable[..., "Future[httpx.Response]"]


def status_of(client: httpx.Client, path: str) -> int:
    return client.get(path).status_code


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with run_server(module="tests.end_to_end.faulty_server") as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=30, limits=httpx.Limits(max_connections=50)) as client:
        yield client


@pytest.fixture
def post(client: httpx.Client) -> Iterator[Post]:
    with ThreadPoolExecutor(20) as pool:

        def send(body: dict[str, Any], path: str = "/v1/chat/completions") -> Future[httpx.Response]:
            return pool.submit(client.post, path, json=body)

        yield send


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def assert_failed(answers: list[Future[httpx.Response]]) -> None:
    """Every answer is an error, once: as a status, or as the last event of a stream."""
    for each in answers:
        answer = each.result()
        if answer.status_code == 200:
            *_, error, done = [line for line in answer.text.split("\n") if line]
            assert done == "data: [DONE]"
            assert answer.text.count('"error"') == 1
            assert json.loads(error.removeprefix("data: "))["error"]["type"] == "server_error"
        else:
            assert answer.status_code == 500
            assert answer.json()["error"]["type"] == "server_error"


def begin_long_requests(server: RunningServer, post: Post) -> list[Future[httpx.Response]]:
    answers = [post({**LONG, "stream": number % 2 == 0}) for number in range(4)]
    wait_until_running(server, 4)
    return answers


def test_what_fails_for_one_request_fails_that_one_alone(
    server: RunningServer, client: httpx.Client, post: Post
) -> None:
    others = [{**LONG, "max_tokens": 600, "temperature": 1.0, "seed": seed} for seed in range(3)]
    expected = [text_of(client.post("/v1/chat/completions", json=body)) for body in others]
    worker = find_worker(server)
    shapes: list[tuple[str, dict[str, Any], int]] = [
        ("/v1/chat/completions", {**LONG, "temperature": 1.0}, 500),
        ("/generate", {"prompt": "Hi", "ignore_eos": True, "max_tokens": 60}, 500),
        ("/v2/models/portico-demo/generate", {"text_input": "Hi", "ignore_eos": True, "max_tokens": 60}, 500),
    ]
    for fault in (faults.PREFILL, faults.DECODE, faults.SAMPLE, faults.LATE_SAMPLE, faults.MEMORY):
        for path, body, status in shapes:
            running = [post(each) for each in others]
            wait_until_running(server, 3)
            failed = client.post(path, json={**body, "seed": fault})
            assert (failed.status_code, "failed on this request" in failed.text) == (status, True), failed.text
            assert "luck" not in failed.text
            assert [text_of(each.result()) for each in running] == expected
    assert find_worker(server) == worker
    assert read_metric(server, "portico_engine_restarts_total") == 0


def test_a_broken_model_is_loaded_again(server: RunningServer, client: httpx.Client, post: Post) -> None:
    answers = begin_long_requests(server, post)
    answers.append(post({**LONG, "seed": faults.BROKEN}))
    wait_until(lambda: any("a step failed" in line for line in server.output))
    failed_at = time.perf_counter()
    not_ready = wait_until(lambda: status_of(client, "/v2/health/ready") == 503)
    show_figure("not ready after the step that failed", not_ready, "s")
    assert_failed(answers)
    show_figure("errors after the step that failed", time.perf_counter() - failed_at, "s")
    assert not_ready < 1
    assert time.perf_counter() - failed_at < 2
    assert status_of(client, "/v2/health/live") == 200
    wait_until(lambda: status_of(client, "/v2/health/ready") == 200, 60)
    assert text_of(client.post("/v1/chat/completions", json=GREETING))
    assert read_metric(server, "portico_engine_restarts_total") == 1


@pytest.mark.parametrize("kind", ["killed", "stopped", "endless"])
def test_a_dead_or_hung_process_is_replaced(server: RunningServer, client: httpx.Client, post: Post, kind: str) -> None:
    answers = begin_long_requests(server, post) if kind == "killed" else [post({**LONG, "stream": True})]
    wait_until_running(server, len(answers))
    if kind == "killed":
        kill_worker(server)
    elif kind == "stopped":
        kill_worker(server, signal.SIGSTOP)
    else:
        answers.append(post({**LONG, "seed": faults.ENDLESS}))
    failed_at = time.perf_counter()
    not_ready = wait_until(lambda: status_of(client, "/v2/health/ready") == 503, 15)
    show_figure(f"{kind}: not ready after", not_ready, "s")
    assert_failed(answers)
    errors = time.perf_counter() - failed_at
    show_figure(f"{kind}: errors after", errors, "s")
    refused = client.post("/v1/chat/completions", json=GREETING)
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    assert status_of(client, "/v2/health/live") == 200
    wait_until(lambda: status_of(client, "/v2/health/ready") == 200, 60)
    show_figure(f"{kind}: ready again after", time.perf_counter() - failed_at, "s")
    assert text_of(client.post("/v1/chat/completions", json=GREETING))
    assert not_ready < (1 if kind == "killed" else 10)
    assert errors < not_ready + 1
    if kind == "killed":
        assert time.perf_counter() - failed_at < server.started_in + 2


def test_a_process_that_dies_again_and_again_is_started_less_and_less_often(
    server: RunningServer, client: httpx.Client
) -> None:
    killed: set[int] = set()
    began_at = time.perf_counter()
    while len(killed) < 4:
        # At most one is there at any time, which `find_worker` holds.
        worker = find_worker(server)
        if worker is not None and worker not in killed:
            os.kill(worker, signal.SIGKILL)
            killed.add(worker)
        assert status_of(client, "/v2/health/live") == 200
        if killed:
            assert client.post("/v1/chat/completions", json=GREETING).status_code in (500, 503)
        time.sleep(0.02)

    def waits() -> list[str]:
        return [line.split("Next start in ")[1].split()[0] for line in server.output if "Next start in" in line]

    wait_until(lambda: len(waits()) >= 4)
    assert waits()[:4] == ["0.5", "1.0", "2.0", "4.0"]
    assert time.perf_counter() - began_at > 3.5
