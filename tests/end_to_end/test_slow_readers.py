"""What happens to clients that do not read what is sent to them, and to those beside them."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.end_to_end.server import RunningServer, read_metric, run_server, show_figure, wait_until

SEND_TIMEOUT = 2.0
_PAGE = 4096
_FRAME = re.compile(rb"data: (\{.*\})\n")
# A prompt and a long answer, as each wire asks for a stream.
STREAMS: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "x", "max_tokens": 20_000, "ignore_eos": True, "stream": True},
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 20_000,
        "ignore_eos": True,
        "stream": True,
    },
    # Every frame has the whole text so far, so that a few of them are more than any buffer.
    "/generate": {"prompt": "x", "max_tokens": 2_000, "ignore_eos": True, "stream": True},
    "/generate_stream": {"inputs": "x", "parameters": {"max_new_tokens": 20_000, "ignore_eos": True}},
}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    # Steps come fast enough to fill every buffer within the time, and slow enough to leave others their turn.
    flags = ("--send-timeout", str(SEND_TIMEOUT), "--token-delay", "0.0005", "--max-num-seqs", "64")
    with run_server("--engine", "scripted", *flags) as running:
        yield running


def ask(server: RunningServer, path: str, body: object) -> socket.socket:
    """A connection with a small buffer, on which a request was sent and nothing is read."""
    parts = urlsplit(server.address)
    assert parts.hostname is not None
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _PAGE)
    connection.settimeout(20)
    connection.connect((parts.hostname, parts.port))
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    connection.sendall(head.encode() + content)
    return connection


def read_all(connection: socket.socket) -> bytes:
    """What is left to read; a connection that was cut off may end with an error."""
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def resident_bytes(server: RunningServer) -> int:
    """Memory of the server's process."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * _PAGE


def num_running(server: RunningServer) -> float:
    return read_metric(server, "portico_num_requests_running")


def num_cut_off(server: RunningServer) -> int:
    return sum("was cut off" in line for line in server.output)


@pytest.mark.parametrize("path", STREAMS)
def test_a_reader_that_stalls_is_cut_off_and_its_request_aborted(server: RunningServer, path: str) -> None:
    cancelled = read_metric(server, "portico_requests_cancelled_total")
    with ask(server, path, STREAMS[path]) as connection:
        wait_until(lambda: num_running(server) >= 1)
        wait_until(lambda: read_metric(server, "portico_requests_cancelled_total") > cancelled, timeout=30)
        wait_until(lambda: num_running(server) == 0)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not answer.endswith(b"0\r\n\r\n")


def test_a_slow_reader_gets_everything(server: RunningServer) -> None:
    """A reader that is behind for longer than the time, but never stops, has every token once."""
    body = {**STREAMS["/v1/completions"], "max_tokens": 6_000, "temperature": 0}
    whole = httpx.post(f"{server.address}/v1/completions", json={**body, "stream": False}, timeout=60).json()
    received = b""
    with ask(server, "/v1/completions", body) as connection:
        time.sleep(0.6 * SEND_TIMEOUT)
        while not received.endswith(b"0\r\n\r\n"):
            part = connection.recv(1 << 15)
            assert part, "the connection was cut off"
            received += part
            time.sleep(0.02)
    assert b"[DONE]" in received
    assert (
        "".join(json.loads(each)["choices"][0]["text"] for each in _FRAME.findall(received))
        == whole["choices"][0]["text"]
    )


def test_a_whole_answer_that_is_not_read_is_cut_off(server: RunningServer) -> None:
    body = {"prompt": [5] * 20_000, "max_tokens": 12_000, "ignore_eos": True, "logprobs": 5, "echo": True}
    with ask(server, "/v1/completions", body) as connection:
        wait_until(lambda: num_running(server) >= 1)
        wait_until(lambda: num_running(server) == 0, timeout=30)
        before = num_cut_off(server)
        wait_until(lambda: num_cut_off(server) > before, timeout=10 * SEND_TIMEOUT)
        answer = read_all(connection)
    head, _, rest = answer.partition(b"\r\n\r\n")
    (length,) = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    assert len(rest) < length


def test_stalled_readers_take_little_memory_and_no_time_of_others() -> None:
    flags = ("--token-delay", "0.005", "--max-num-seqs", "64")
    stalling = {**STREAMS["/generate"], "max_tokens": 1_500}
    with run_server("--engine", "scripted", *flags) as server:
        alone = read_gaps(server)
        before = resident_bytes(server)
        stalled = [ask(server, "/generate", stalling) for _ in range(20)]
        try:
            wait_until(lambda: num_running(server) == 20)
            sent = -1.0
            # They have stalled once nothing more of them is written.
            while sent < (sent := read_metric(server, "portico_generation_tokens_total", dialect="vllm")):
                time.sleep(0.5)
            growth = (resident_bytes(server) - before) / len(stalled)
            beside = read_gaps(server)
            assert num_running(server) == 20
        finally:
            for connection in stalled:
                connection.close()
        wait_until(lambda: num_running(server) == 0)
    show_figure("memory of a stalled reader", growth / 1024, "KiB")
    for name, gaps in (("alone", alone), ("beside 20 stalled readers", beside)):
        show_figure(f"gap between tokens, median, {name}", gaps[len(gaps) // 2] * 1000, "ms")
        show_figure(f"gap between tokens, 99th percentile, {name}", gaps[len(gaps) * 99 // 100] * 1000, "ms")
    assert growth < 512 * 1024
    assert beside[len(beside) // 2] < 1.5 * alone[len(alone) // 2]


def read_gaps(server: RunningServer) -> list[float]:
    """The times between the arrivals of a stream that is read at once, sorted."""
    body = {"prompt": "x", "max_tokens": 300, "ignore_eos": True, "stream": True}
    times, received = [], b""
    with ask(server, "/v1/completions", body) as connection:
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(1 << 16)
            times.append(time.perf_counter())
    return sorted(after - before for before, after in pairwise(times[1:]))
