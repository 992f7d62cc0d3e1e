"""The three clocks of a request, as clients of every dialect see them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.end_to_end.server import LONG_SCRIPT, RunningServer, read_metric, run_server, wait_until_running

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 1000}
# A path, its body without streaming, the status, and the words of the dialect.
TOTAL = [
    ("/v1/chat/completions", CHAT, 504, '"code":"timeout"'),
    ("/v1/completions", {"prompt": "Hi", "max_tokens": 1000}, 504, '"code":"timeout"'),
    ("/generate", {"prompt": "Hi", "max_tokens": 1000}, 504, "GatewayTimeoutError"),
    ("/generate", {"inputs": "Hi", "parameters": {"max_new_tokens": 1000}}, 504, "incomplete_generation"),
    ("/v2/models/portico-demo/generate", {"text_input": "Hi", "max_tokens": 1000}, 503, '{"error":'),
    ("/infer", {"inputs": "Hi", "parameters": {"max_new_tokens": 1000}}, 500, "Engine callback timeout"),
    ("/v1/messages", CHAT, 504, "timeout_error"),
]
QUEUE = [
    ("/v1/chat/completions", CHAT, 503, "service_unavailable"),
    ("/generate", {"prompt": "Hi"}, 503, "ServiceUnavailableError"),
    ("/generate", {"inputs": "Hi"}, 503, "overloaded"),
    ("/v2/models/portico-demo/generate", {"text_input": "Hi"}, 503, '{"error":'),
    ("/infer", {"inputs": "Hi"}, 503, "Service Unavailable"),
    ("/v1/messages", CHAT, 529, "overloaded_error"),
]


ENGINE = ("--engine", "scripted", "--token-delay", "0.02", "--max-num-seqs", "1", "--script", *LONG_SCRIPT)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One sequence runs at once and never ends by itself, with a token every 20 ms."""
    with run_server("--request-timeout", "1.5", *ENGINE) as server:
        yield server


@pytest.fixture(scope="module")
def busy_server() -> Iterator[RunningServer]:
    """Its only place is taken for as long as it runs."""
    endless = {**CHAT, "max_tokens": 5000, "stream": True}
    with (
        run_server("--queue-timeout", "0.5", *ENGINE) as server,
        httpx.stream("POST", f"{server.address}/v1/chat/completions", json=endless, timeout=120),
    ):
        wait_until_running(server, 1)
        yield server


@pytest.mark.parametrize(("path", "body", "status", "words"), TOTAL)
def test_a_request_that_takes_too_long(
    server: RunningServer, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    started_at = time.perf_counter()
    answer = httpx.post(server.address + path, json=body, timeout=10)
    assert 1.4 < time.perf_counter() - started_at < 3
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert "within 1.5 seconds" in answer.text
    wait_until_running(server, 0)


def test_a_stream_that_takes_too_long_ends_with_one_error(server: RunningServer) -> None:
    with httpx.stream("POST", f"{server.address}/v1/chat/completions", json={**CHAT, "stream": True}) as response:
        events = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert events[-1] == "[DONE]"
    errors = [event for event in events if '"error"' in event]
    assert events[-2:-1] == errors
    assert json.loads(errors[0])["error"]["code"] == "timeout"
    assert len(events) > 20


@pytest.mark.parametrize(("path", "body", "status", "words"), QUEUE)
def test_a_request_that_waits_too_long(
    busy_server: RunningServer, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    started_at = time.perf_counter()
    answer = httpx.post(busy_server.address + path, json=body, timeout=10)
    assert 0.4 < time.perf_counter() - started_at < 3
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert "waited for 0.5 seconds" in answer.text
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    # The one that runs is not touched.
    wait_until_running(busy_server, 1)
    assert read_metric(busy_server, "portico_num_requests_waiting") == 0


def test_a_client_can_only_shorten_the_time(server: RunningServer) -> None:
    for microseconds, seconds in ((300_000, 0.3), (10**12, 1.5)):
        body = {"text_input": "Hi", "max_tokens": 1000, "timeout": microseconds}
        started_at = time.perf_counter()
        answer = httpx.post(f"{server.address}/v2/models/portico-demo/generate", json=body, timeout=10)
        assert seconds - 0.1 < time.perf_counter() - started_at < seconds + 1.5
        assert (answer.status_code, f"within {seconds} seconds" in answer.text) == (503, True), answer.text


def test_a_request_of_which_nothing_comes() -> None:
    arguments = ("--engine", "scripted", "--prefill-delay", "30", "--stall-timeout", "0.5")
    with run_server(*arguments) as server:
        started_at = time.perf_counter()
        answer = httpx.post(f"{server.address}/v1/chat/completions", json=CHAT, timeout=10)
        assert 0.4 < time.perf_counter() - started_at < 2
        assert (answer.status_code, "no token came for 0.5 seconds" in answer.text) == (504, True)
        wait_until_running(server, 0)
        assert read_metric(server, "portico_requests_failed_total", reason="Stalled") == 1


def test_times_that_make_no_sense_are_refused() -> None:
    for value in ("-1", "nan", "inf"):
        with (
            pytest.raises(RuntimeError, match=r"--queue-timeout is a number of seconds"),
            run_server("--engine", "scripted", f"--queue-timeout={value}"),
        ):
            pass
