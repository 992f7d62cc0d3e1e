"""A server that lacks files, memory, or somebody who reads its log."""

from __future__ import annotations

import re
import resource
import signal
import socket
import time
from typing import Any

import httpx

from tests.end_to_end.server import find_worker, run_server, start_process, wait_until

GREETING: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 5}
_FILES = 256


def test_more_connections_than_there_are_files() -> None:
    with run_server("--engine", "scripted") as server:
        assert server.process.pid
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (_FILES, _FILES))
        host, port = server.address.removeprefix("http://").split(":")
        crowd = []
        for _ in range(400):
            connection = socket.create_connection((host, int(port)), timeout=5)
            crowd.append(connection)
        time.sleep(0.5)
        assert server.process.poll() is None
        for connection in crowd:
            connection.close()

        def is_serving() -> bool:
            try:
                return httpx.post(f"{server.address}/v1/chat/completions", json=GREETING, timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        wait_until(is_serving, 10)


def test_few_files_from_the_start_mean_few_connections() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, before[1]))
    try:
        with run_server("--engine", "scripted") as server:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            host, port = server.address.removeprefix("http://").split(":")
            crowd = [socket.create_connection((host, int(port)), timeout=5) for _ in range(300)]
            try:
                answers = []
                for connection in crowd[200:]:
                    connection.settimeout(5)
                    answers.append(connection.recv(100))
                assert all(answer.startswith(b"HTTP/1.1 503") for answer in answers)
            finally:
                for connection in crowd:
                    connection.close()
            assert httpx.post(f"{server.address}/v1/chat/completions", json=GREETING).status_code == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_log_that_nobody_reads() -> None:
    process = start_process("serve", "--port", "0", "--grpc-port", "0", "--engine", "scripted", "--log-level", "debug")
    try:
        assert process.stderr is not None
        address = next(found[1] for line in process.stderr if (found := re.search(r"is ready on (http://\S+)", line)))
        process.stderr.close()
        for number in range(20):
            body = GREETING if number % 2 else {}
            assert httpx.post(f"{address}/v1/chat/completions", json=body).status_code == (200 if number % 2 else 400)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def test_a_request_that_the_memory_does_not_suffice_for() -> None:
    with run_server("--max-logprobs", "4000") as server, httpx.Client(base_url=server.address, timeout=60) as client:
        assert client.post("/v1/chat/completions", json=GREETING).status_code == 200
        worker = find_worker(server)
        assert worker is not None
        with open(f"/proc/{worker}/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.prlimit(worker, resource.RLIMIT_AS, (used + (16 << 20), resource.RLIM_INFINITY))
        big = {"prompt": "word " * 400, "max_tokens": 1, "prompt_logprobs": 4000}
        answer = client.post("/v1/completions", json=big)
        assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
        assert find_worker(server) == worker
        resource.prlimit(worker, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        wait_until(lambda: client.post("/v1/chat/completions", json=GREETING).status_code == 200, 30)
