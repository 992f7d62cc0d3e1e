"""A really running server, in a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_READY = re.compile(r"is ready on (https?://\S+)")
_START_TIMEOUT = 120


@dataclass
class RunningServer:
    """A started server; `output` is what it has written to its terminal so far."""

    process: subprocess.Popen[str]
    address: str = ""
    output: list[str] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        """Where the OpenAI routes are."""
        return f"{self.address}/v1"


@contextmanager
def run_server(*arguments: str) -> Iterator[RunningServer]:
    """Starts `portico serve` on a free port of the loopback address, and stops it in the end."""
    process = start_process("serve", "--port", "0", "--grpc-port", "0", *arguments)
    server = RunningServer(process)
    ready = threading.Event()
    reader = threading.Thread(target=_read, args=(server, ready), daemon=True)
    reader.start()
    try:
        ready.wait(_START_TIMEOUT)
        if not server.address:
            raise RuntimeError("the server did not start:\n" + "".join(server.output))
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


def start_process(*arguments: str) -> subprocess.Popen[str]:
    """Starts the `portico` command."""
    return subprocess.Popen(
        [sys.executable, "-m", "portico", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def _read(server: RunningServer, ready: threading.Event) -> None:
    assert server.process.stderr is not None
    for line in server.process.stderr:
        server.output.append(line)
        if match := _READY.search(line):
            server.address = match[1]
            ready.set()
    ready.set()
