"""A server that is told to stop, or dies, before it is ready."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.server import LONG_SCRIPT, RunningServer, find_worker, start_process, wait_until

_LOADING = "loading weights:"


@contextmanager
def loading_server(*arguments: str, module: str = "portico") -> Iterator[RunningServer]:
    """A server that has said that it loads the model."""
    process = start_process("serve", "--port", "0", "--grpc-port", "0", *arguments, module=module)
    server = RunningServer(process)
    assert process.stderr is not None
    try:
        while _LOADING not in "".join(server.output):
            # The line has no end before loading gets on.
            piece = process.stderr.read(1)
            assert piece, "it ended before it loaded anything"
            server.output.append(piece)
        yield server
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def is_running(pid: int) -> bool:
    """Whether the process is there; one that has ended and waits for whoever inherited it is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def end_of(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    """Signals a process; its exit code and what it still wrote."""
    process.send_signal(number)
    assert process.stderr is not None
    return process.wait(20), process.stderr.read()


@pytest.mark.parametrize("engine", ["native", "scripted"])
def test_a_server_that_loads_ends_when_it_is_told_to(engine: str) -> None:
    if engine == "native":
        started = loading_server(module="tests.end_to_end.endless_loading")
    else:
        started = loading_server("--engine", "scripted", "--load-delay", "100", "--script", *LONG_SCRIPT[:5])
    with started as server:
        worker = find_worker(server)
        assert (worker is not None) is (engine == "native")
        told_at = time.perf_counter()
        exit_code, text = end_of(server.process, signal.SIGTERM)
        assert time.perf_counter() - told_at < 10
        assert exit_code == 0
        assert text.splitlines()[-1] == "portico: told to stop before the server was ready"
        assert "Traceback" not in text
        assert worker is None or not is_running(worker)


def test_an_engine_that_loads_does_not_outlive_its_server() -> None:
    with loading_server(module="tests.end_to_end.endless_loading") as server:
        worker = find_worker(server)
        assert worker is not None
        try:
            server.process.kill()
            server.process.wait()
            wait_until(lambda: not is_running(worker))
        finally:
            if is_running(worker):
                os.kill(worker, signal.SIGKILL)
