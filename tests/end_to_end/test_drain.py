"""A server that is told to stop."""

from __future__ import annotations

import http.client
import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import httpx

from tests.end_to_end.server import LONG_SCRIPT, RunningServer, run_server, show_figure, wait_until_running

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 40}
ENDLESS = {**CHAT, "max_tokens": 20000}


@contextmanager
def slow_server(*arguments: str) -> Iterator[RunningServer]:
    """An answer of 40 tokens takes about two seconds."""
    with run_server(*arguments, "--engine", "scripted", "--token-delay", "0.05", "--script", *LONG_SCRIPT) as server:
        yield server


class KeptConnection:
    """One connection that is kept alive."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)

    def close(self) -> None:
        self._connection.close()

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], str]:
        content = None if body is None else json.dumps(body)
        self._connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read().decode()


def test_what_was_accepted_is_finished_and_nothing_new_begun() -> None:
    with slow_server() as server, ThreadPoolExecutor() as pool, closing(KeptConnection(server.address)) as kept:
        assert kept.request("GET", "/v2/health/ready")[0] == 200
        running = [
            pool.submit(httpx.post, f"{server.address}/v1/chat/completions", json=CHAT, timeout=20) for _ in range(5)
        ]
        stream = pool.submit(
            httpx.post, f"{server.address}/v1/chat/completions", json={**CHAT, "stream": True}, timeout=20
        )
        wait_until_running(server, 6)
        server.process.send_signal(signal.SIGTERM)
        told_at = time.perf_counter()
        time.sleep(0.1)
        assert kept.request("GET", "/v2/health/ready")[0] == 503
        show_figure("not ready after SIGTERM", time.perf_counter() - told_at, "s at most")
        assert kept.request("GET", "/v2/health/live")[0] == 200
        for path, body in (("/v1/chat/completions", CHAT), ("/generate", {"inputs": "x"})):
            status, headers, text = kept.request("POST", path, body)
            assert (status, "stop" in text) == (503, True), text
            assert 1 <= int(headers["retry-after"]) <= 60
        fresh = httpx.post(f"{server.address}/v1/chat/completions", json=CHAT)
        assert (fresh.status_code, "retry-after" in fresh.headers) == (503, True)
        for each in running:
            choice = each.result().json()["choices"][0]
            assert (choice["finish_reason"], each.result().json()["usage"]["completion_tokens"]) == ("length", 40)
        assert stream.result().text.rstrip().endswith("data: [DONE]")
        assert '"error"' not in stream.result().text
        assert server.process.wait(3) == 0


def test_what_takes_longer_is_broken_off_with_an_error() -> None:
    with slow_server("--drain-timeout", "1") as server, ThreadPoolExecutor() as pool:
        url = f"{server.address}/v1/chat/completions"
        stream = pool.submit(httpx.post, url, json={**ENDLESS, "stream": True}, timeout=20)
        whole = pool.submit(httpx.post, url, json=ENDLESS, timeout=20)
        wait_until_running(server, 2)
        server.process.send_signal(signal.SIGTERM)
        told_at = time.perf_counter()
        assert server.process.wait(10) == 0
        show_figure("end after SIGTERM with 1 s to drain", time.perf_counter() - told_at, "s")
        assert 1 <= time.perf_counter() - told_at < 3
        *_, error, done = [line for line in stream.result().text.split("\n") if line]
        assert done == "data: [DONE]"
        assert "stopped while it worked" in json.loads(error.removeprefix("data: "))["error"]["message"]
        assert whole.result().status_code == 503


def test_a_second_signal_ends_at_once() -> None:
    with slow_server() as server, ThreadPoolExecutor() as pool:
        url = f"{server.address}/v1/chat/completions"
        stream = pool.submit(httpx.post, url, json={**ENDLESS, "stream": True}, timeout=20)
        wait_until_running(server, 1)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGTERM)
        told_at = time.perf_counter()
        assert server.process.wait(10) == 0
        show_figure("end after the second signal", time.perf_counter() - told_at, "s")
        assert time.perf_counter() - told_at < 2
        assert isinstance(stream.exception(), httpx.RemoteProtocolError) or '"error"' in stream.result().text


def test_an_idle_server_ends_at_once() -> None:
    with slow_server() as server, closing(KeptConnection(server.address)) as kept:
        assert kept.request("GET", "/v2/health/live")[0] == 200
        told_at = time.perf_counter()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert time.perf_counter() - told_at < 2
