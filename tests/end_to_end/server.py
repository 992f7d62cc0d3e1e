"""A really running server, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

_READY = re.compile(r"is ready on (https?://\S+)")
_START_TIMEOUT = 120
# For the scripted engine: what comes to no end by itself.
LONG_SCRIPT = ("97",) * 5000


@dataclass
class RunningServer:
    """A started server; `output` is what it has written to its terminal so far, `started_in` the seconds it took."""

    process: subprocess.Popen[str]
    address: str = ""
    started_in: float = 0.0
    output: list[str] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        """Where the OpenAI routes are."""
        return f"{self.address}/v1"


@contextmanager
def run_server(
    *arguments: str, module: str = "portico", environment: Mapping[str, str] | None = None
) -> Iterator[RunningServer]:
    """Starts `portico serve` on a free port of the loopback address, and stops it in the end."""
    flags = ("--port", "0", "--grpc-port", "0", *arguments)
    started_at = time.perf_counter()
    process = start_process("serve", *flags, module=module, environment=environment)
    server = RunningServer(process)
    ready = threading.Event()
    reader = threading.Thread(target=_read, args=(server, ready), daemon=True)
    reader.start()
    try:
        ready.wait(_START_TIMEOUT)
        if not server.address:
            raise RuntimeError("the server did not start:\n" + "".join(server.output))
        server.started_in = time.perf_counter() - started_at
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()
        assert process.stderr is not None
        process.stderr.close()


def start_process(
    *arguments: str, module: str = "portico", environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Starts the `portico` command, or a module that is one too, with further variables of the environment."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
        cwd=Path(__file__).parents[2],
    )


def find_worker(server: RunningServer) -> int | None:
    """The process id of the engine: the server's child that runs the model."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    workers = []
    for pid in children:
        # One that has just ended has no command line any more.
        command = Path(f"/proc/{pid}/cmdline")
        if command.exists() and "spawn_main" in command.read_text():
            workers.append(int(pid))
    assert len(workers) <= 1
    return workers[0] if workers else None


def kill_worker(server: RunningServer, number: int = signal.SIGKILL) -> None:
    """Sends a signal to the engine."""
    worker = find_worker(server)
    assert worker is not None
    os.kill(worker, number)


def read_metric(server: RunningServer, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have the labels."""
    (value,) = read_metrics(server, name, **labels)
    return value


def read_metrics(server: RunningServer, *names: str, **labels: str) -> list[float]:
    """The sums of several metrics' samples that have the labels, at one moment."""
    page = httpx.get(f"{server.address}/metrics", timeout=30).text
    sums = dict.fromkeys(names, 0.0)
    for sample in (each for family in text_string_to_metric_families(page) for each in family.samples):
        if sample.name in sums and labels.items() <= sample.labels.items():
            sums[sample.name] += sample.value
    return [sums[name] for name in names]


def wait_until(condition: Callable[[], object], timeout: float = 10.0) -> float:
    """Waits until a function gives something true; the seconds that it took."""
    started_at = time.perf_counter()
    while not condition():
        assert time.perf_counter() - started_at < timeout, "it did not come true"
        time.sleep(0.01)
    return time.perf_counter() - started_at


def wait_until_running(server: RunningServer, num_sequences: int) -> None:
    """Waits until the engine works on so many sequences."""
    wait_until(lambda: read_metric(server, "portico_num_requests_running") == num_sequences)


def show_figure(what: str, value: float, unit: str) -> None:
    """Writes down what was measured, for whoever runs the tests with `-s`."""
    sys.stdout.write(f"\n    {what}: {value:.3f} {unit}\n")


def _read(server: RunningServer, ready: threading.Event) -> None:
    assert server.process.stderr is not None
    for line in server.process.stderr:
        server.output.append(line)
        if match := _READY.search(line):
            server.address = match[1]
            ready.set()
    ready.set()
