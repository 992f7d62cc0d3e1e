"""What operators see of requests: names, log lines and metrics of a started server."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.end_to_end.server import (
    LONG_SCRIPT,
    RunningServer,
    read_metric,
    read_metrics,
    run_server,
    show_figure,
    wait_until,
    wait_until_running,
)
from tests.engines.native.conftest import needs_kernels

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "an unmistakable prompt"}], "max_tokens": 4}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """Four places, and one to wait in."""
    engine = ("--engine", "scripted", "--token-delay", "0.01", "--max-num-seqs", "4", "--script", *LONG_SCRIPT)
    with run_server("--log-format", "json", "--max-waiting", "1", "--request-timeout", "8", *engine) as server:
        yield server


def log_line(server: RunningServer, name: str) -> dict[str, Any]:
    """The line that the log has of a request."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        lines = [json.loads(line) for line in server.output if line.startswith("{")]
        found.extend(line for line in lines if line.get("request_id") == name)
        return bool(found)

    wait_until(is_there)
    return found[0]


def test_names_go_along_with_a_request(server: RunningServer) -> None:
    headers = {"X-Request-Id": "mine-1", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    answer = httpx.post(f"{server.address}/v1/chat/completions", json=CHAT, headers=headers)
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert "00f067aa0ba902b7" not in answer.headers["traceparent"]
    line = log_line(server, "mine-1")
    assert line["trace_id"] == TRACE
    assert len(line["own_id"]) == 32
    assert (line["dialect"], line["route"], line["status"]) == ("openai", "/v1/chat/completions", 200)
    assert (line["num_output_tokens"], line["stream"], line["level"]) == (4, False, "info")
    assert line["num_prompt_tokens"] > 0
    assert 0 <= line["queue_time"] <= line["first_token_time"] <= line["total_time"]
    assert "unmistakable" not in "".join(server.output)


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("POST", "/v1/chat/completions", b"{"),
        ("POST", "/v1/messages", b"{}"),
        ("POST", "/generate", b"{}"),
        ("GET", "/nothing", b""),
        ("DELETE", "/v1/models", b""),
        ("GET", "/v2/health/live", b""),
        ("GET", "/v1/models", b""),
    ],
)
def test_every_answer_has_a_name(server: RunningServer, method: str, path: str, content: bytes) -> None:
    given = {"X-Request-Id": f"mine{path}", "Content-Type": "application/json"}
    named = httpx.request(method, server.address + path, content=content, headers=given)
    assert named.headers["x-request-id"] == f"mine{path}"
    long = httpx.request(method, server.address + path, content=content, headers={**given, "X-Request-Id": "x" * 200})
    assert len(long.headers["x-request-id"]) == 32
    without = httpx.request(method, server.address + path, content=content)
    assert len(without.headers["x-request-id"]) == 32


def leave(server: RunningServer, body: dict[str, Any]) -> None:
    """Asks, and closes the connection once the engine works on it."""
    host, port = server.address.removeprefix("http://").split(":")
    content = json.dumps(body).encode()
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        wait_until_running(server, body.get("n", 1))


def test_what_is_counted(server: RunningServer) -> None:
    url = f"{server.address}/v1/chat/completions"
    endless = {**CHAT, "max_tokens": 5000}

    def count(name: str, **labels: str) -> float:
        return read_metric(server, f"portico_{name}", **labels)

    names = (
        "requests_received_total",
        "requests_accepted_total",
        "generation_tokens_total",
        "prompt_tokens_total",
        "time_to_first_token_seconds_count",
        "inter_token_latency_seconds_count",
        "e2e_request_latency_seconds_count",
        "request_queue_time_seconds_count",
    )
    before = {name: count(name) for name in names}
    assert httpx.post(url, json=CHAT).status_code == 200
    for name in names:
        assert count(name) > before[name], name
    refused = {"InvalidParameter": {**CHAT, "temperature": -1}, "UnknownModel": {**CHAT, "model": "none"}}
    for reason, body in refused.items():
        number = count("requests_refused_total", reason=reason)
        assert httpx.post(url, json=body).status_code in (400, 404)
        assert count("requests_refused_total", reason=reason) == number + 1
    number = count("requests_refused_total", reason="Overloaded")
    late = count("requests_failed_total", reason="TimedOut")
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(httpx.post, url, json=endless, timeout=20) for _ in range(5)]
        # Of one page: by the time of another the requests may have ended on a busy machine.
        load = ("portico_num_requests_running", "portico_num_requests_waiting", "portico_kv_cache_usage_ratio")
        wait_until(lambda: read_metrics(server, *load) == [4, 1, 1])
        full = httpx.post(url, json=CHAT)
        assert (full.status_code, "retry-after" in full.headers) == (429, True)
        assert count("requests_refused_total", reason="Overloaded") == number + 1
        assert [each.result().status_code for each in running] == [504] * 5
        wait_until(lambda: count("requests_failed_total", reason="TimedOut") == late + 5)
    number = count("requests_cancelled_total")
    leave(server, endless)
    wait_until(lambda: count("requests_cancelled_total") == number + 1)
    wait_until(lambda: read_metrics(server, *load) == [0, 0, 0])


@pytest.mark.parametrize("changes", [{}, {"stream": True}, {"n": 4}, {"n": 4, "stream": True}])
def test_a_client_that_leaves_frees_its_place(server: RunningServer, changes: dict[str, Any]) -> None:
    body = {**CHAT, "max_tokens": 5000, "temperature": 1.0, **changes}
    with httpx.Client(base_url=server.address, timeout=20) as client:
        leave(server, body)
        freed = wait_until(lambda: read_metric(server, "portico_kv_cache_usage_ratio") == 0)
        show_figure(f"place free after a client left, {changes}", freed, "s")
        steps = read_metric(server, "portico_generation_tokens_total")
        time.sleep(0.1)
        assert read_metric(server, "portico_generation_tokens_total") == steps
        # A second is the promise; the tests run on machines that others use too.
        assert freed < 3
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 200


def test_connections_that_are_refused_are_counted(server: RunningServer) -> None:
    host, port = server.address.removeprefix("http://").split(":")
    for content, reason in (
        (b"nonsense\r\n\r\n", "Bad Request"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200, "Fields"),
    ):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(content)
            assert reason.encode() in connection.recv(1000)
    for reason in ("Bad Request", "Request Header Fields Too Large"):
        assert read_metric(server, "portico_connections_refused_total", reason=reason) == 1


def test_a_client_that_leaves_the_queue_lets_the_others_be(server: RunningServer) -> None:
    url = f"{server.address}/v1/chat/completions"
    wide = {**CHAT, "n": 4, "temperature": 1.0, "max_tokens": 150}
    with ThreadPoolExecutor() as pool:
        running = pool.submit(httpx.post, url, json=wide, timeout=20)
        wait_until_running(server, 4)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url, json=CHAT, timeout=0.3)
        wait_until(lambda: read_metric(server, "portico_num_requests_waiting") == 0, 1.5)
        answer = running.result().json()
        assert [choice["finish_reason"] for choice in answer["choices"]] == ["length"] * 4
        assert answer["usage"]["completion_tokens"] == 600


@needs_kernels
def test_guesses_at_the_next_tokens_are_counted() -> None:
    """Of a model that is asked to go on for so long that it repeats itself."""
    body = {"prompt": "one two one two one two one two", "max_tokens": 200, "temperature": 0, "ignore_eos": True}
    with run_server("--num-speculative-tokens", "3") as server:

        def count(name: str, **labels: str) -> float:
            return read_metric(server, name, **labels)

        assert count("vllm:spec_decode_num_drafts_total") == 0
        assert httpx.post(f"{server.address}/v1/completions", json=body, timeout=60).status_code == 200
        drafts, tokens, accepted = (
            count(f"vllm:spec_decode_num_{name}_total") for name in ("drafts", "draft_tokens", "accepted_tokens")
        )
        assert 0 < drafts <= tokens <= 3 * drafts
        assert 0 < accepted <= tokens
        places = [
            count("vllm:spec_decode_num_accepted_tokens_per_pos_total", position=str(place)) for place in range(3)
        ]
        assert sum(places) == accepted
        assert places == sorted(places, reverse=True)
        # Tokens come out of steps: one of each, and the guesses that were right.
        assert count("portico_generation_tokens_total") == 200
        assert accepted < 200
        assert count("vllm:cache_config_info", block_size="16", engine="0") == 1
        assert count("portico_weight_bytes") > 0
        assert count("portico_peak_memory_bytes", process="engine") > count("portico_weight_bytes")
    with run_server("--num-speculative-tokens", "0") as server:
        assert "spec_decode" not in httpx.get(f"{server.address}/metrics").text
