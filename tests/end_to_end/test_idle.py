"""What a server costs that has nothing to do."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.end_to_end.server import RunningServer, run_server, show_figure, wait_until

_NUM_CONNECTIONS = 1000


def processes(pid: int) -> list[int]:
    """A process and its descendants."""
    children = [child for task in Path("/proc").glob(f"{pid}/task/*/children") for child in task.read_text().split()]
    return [pid, *(each for child in children for each in processes(int(child)))]


def cpu_seconds(server: RunningServer) -> float:
    """Processor time of all processes of the server."""
    total = 0
    for pid in processes(server.process.pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def resident_bytes(server: RunningServer) -> int:
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def num_files(server: RunningServer) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


@pytest.mark.parametrize("engine", ["scripted", "native"])
def test_an_idle_server_does_nothing(engine: str) -> None:
    with run_server("--engine", engine) as server:
        time.sleep(2)
        before = cpu_seconds(server)
        time.sleep(5)
        used = (cpu_seconds(server) - before) / 5
    show_figure(f"processor time of an idle server, {engine} engine", used * 100, "%")
    assert used < 0.02


def test_idle_connections_are_cheap() -> None:
    with run_server("--engine", "scripted", "--idle-timeout", "8") as server, ExitStack() as stack:
        parts = urlsplit(server.address)
        files, memory = num_files(server), resident_bytes(server)
        connections = [
            stack.enter_context(socket.create_connection((parts.hostname, parts.port))) for _ in range(_NUM_CONNECTIONS)
        ]
        for connection in connections:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        memory = (resident_bytes(server) - memory) // _NUM_CONNECTIONS
        before = cpu_seconds(server)
        time.sleep(2)
        used = (cpu_seconds(server) - before) / 2
        show_figure("memory of an idle connection", memory / 1024, "KiB")
        show_figure(f"processor time beside {_NUM_CONNECTIONS} idle connections", used * 100, "%")
        assert memory < 100 * 1024
        assert used < 0.05
        # They are closed in the end, and nothing of them is left.
        wait_until(lambda: num_files(server) <= files, timeout=30)
