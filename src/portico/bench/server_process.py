"""A server in a process tree of its own: started, waited for, measured, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from portico.bench.client import Client, ClientError

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_POLL_INTERVAL = 0.1
_STOP_TIMEOUT = 20
_SHOWN_LOG = 2000
PORTICO = ("-m", "portico")


class ServerStartFailed(Exception):
    """A server did not become ready; the message has the end of what it wrote."""


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server that is ready."""

    pid: int
    base_url: str

    def cpu_seconds(self) -> float:
        """Processor time that the tree has used, of children that have ended too."""
        return sum(map(_cpu_seconds, _tree(self.pid)))

    def peak_memory(self) -> int:
        """Bytes: the peak resident size of each process, added up; pages that several share count for each."""
        return sum(map(_peak_resident, _tree(self.pid)))


@asynccontextmanager
async def run_server(
    command: Sequence[str],
    base_url: str,
    log: Path,
    ready_path: str = "/health",
    timeout: float = 600,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[ServerProcess]:
    """Starts a server, yields it once `ready_path` answers with success, and stops its whole tree in the end.

    Raises:
        ServerStartFailed: it ended, or was not ready in time.
    """
    task = asyncio.current_task()
    assert task is not None
    # The server is in a session of its own, so nobody else would stop it when this process is told to end.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
    try:
        await _wait_until_ready(process, base_url, ready_path, timeout, log)
        yield ServerProcess(process.pid, base_url)
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        await asyncio.shield(asyncio.to_thread(_stop, process))


@asynccontextmanager
async def run_portico(
    checkpoint: Path, flags: Sequence[str], log: Path, launcher: Sequence[str] = PORTICO
) -> AsyncIterator[ServerProcess]:
    """Serves a checkpoint with `portico serve` on a free port; `launcher` are the arguments of Python that run it."""
    port = free_port()
    own_flags = ["--port", str(port), "--grpc-port", "0"]
    command = [sys.executable, *launcher, "serve", str(checkpoint), *own_flags, *flags]
    async with run_server(command, f"http://127.0.0.1:{port}", log) as server:
        yield server


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _wait_until_ready(
    process: subprocess.Popen[bytes], base_url: str, ready_path: str, timeout: float, log: Path
) -> None:
    client = Client(base_url)
    try:
        async with asyncio.timeout(timeout):
            while process.poll() is None:
                with suppress(ClientError, TimeoutError):
                    async with asyncio.timeout(5):
                        await client.get(ready_path)
                        return
                await asyncio.sleep(_POLL_INTERVAL)
    except TimeoutError:
        reason = f"was not ready after {timeout:g} s"
    else:
        reason = f"ended with status {process.returncode}"
    finally:
        client.close()
    written = log.read_bytes()[-_SHOWN_LOG:].decode(errors="replace").strip()
    raise ServerStartFailed(f"the server {reason}; it wrote:\n{written}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    group = process.pid
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # What the server has left behind is in its session and nobody else is.
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _tree(pid: int) -> Iterator[int]:
    """A process and all its descendants that are alive."""
    yield pid
    for task in _PROC.glob(f"{pid}/task/*/children"):
        with suppress(OSError):
            for child in task.read_text().split():
                yield from _tree(int(child))


def _cpu_seconds(pid: int) -> float:
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return 0.0
    # After the name, which is in parentheses: utime and stime are the 14th and 15th field of all, then the children's.
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS_PER_SECOND


def _peak_resident(pid: int) -> int:
    try:
        status = (_PROC / str(pid) / "status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
