"""The server under test: a process of its own that is started, watched from outside, and stopped."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from portico.bench.server_process import free_port
from reliability.check import Settings
from reliability.client import Answer, encode_request, exchange

ROOT = Path(__file__).parents[1]
_READY = re.compile(r"is ready on https?://([\d.]+):(\d+)")
_START_TIMEOUT = 120
_STOP_TIMEOUT = 40
_SHOWN_LOG = 2000
_names = itertools.count()
_LISTENING = "0A"


class ServerStartFailed(Exception):
    """The server did not become ready; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Load:
    """What `/metrics` says of the engine."""

    num_running: int
    num_waiting: int
    num_free_blocks: int

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs or waits."""
        return not self.num_running and not self.num_waiting


class Server:
    """A running server."""

    def __init__(self, process: asyncio.subprocess.Process, log_path: Path) -> None:
        self.process = process
        self.address = ("127.0.0.1", 0)
        self._log_path = log_path

    @property
    def pid(self) -> int:
        """Of the process that answers HTTP."""
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def engine_pid(self) -> int | None:
        """Of the child that runs the model; None without one, as with the scripted engine."""
        for pid in _children(self.pid):
            if "spawn_main" in _read(f"/proc/{pid}/cmdline"):
                return pid
        return None

    def engine_identity(self) -> tuple[int | None, str]:
        """Changes whenever the process of the engine, or of the server itself, is another one."""
        pid = self.engine_pid or self.pid
        return pid, _read(f"/proc/{pid}/stat").rpartition(")")[2].split()[19]

    def resident_bytes(self) -> int:
        """Memory of the process that answers HTTP."""
        return int(_read(f"/proc/{self.pid}/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def tree_resident_bytes(self) -> int:
        """Memory of it and its engine."""
        pids = [self.pid, *_children(self.pid)]
        return sum(int((_read(f"/proc/{pid}/statm") or "0 0").split()[1]) for pid in pids) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """Processor time of it and its children so far."""
        ticks = 0
        for pid in (self.pid, *_children(self.pid)):
            if stat := _read(f"/proc/{pid}/stat"):
                ticks += sum(map(int, stat.rpartition(")")[2].split()[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def listening(self) -> set[str]:
        """The addresses, as `127.0.0.1:1025`, at which it or its engine can be reached."""
        inodes = {
            _inode(path) for pid in (self.pid, *_children(self.pid)) for path in Path(f"/proc/{pid}/fd").iterdir()
        }
        found: set[str] = set()
        for name in ("tcp", "tcp6"):
            for line in _read(f"/proc/{self.pid}/net/{name}").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and fields[9] in inodes:
                    address, _, port = fields[1].partition(":")
                    found.add(f"{_dotted(address)}:{int(port, 16)}")
        return found

    def num_fds(self) -> int:
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def num_threads(self) -> int:
        """Threads."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """One request on a connection of its own."""
        return await exchange(self.address, encode_request(method, path, body, headers), timeout)

    async def status(self, path: str, timeout: float = 5.0) -> int:
        """The status of a GET; 0 when there was no answer."""
        return (await self.request("GET", path, timeout=timeout)).status

    async def load(self) -> Load:
        """The engine's load now."""
        page = (await self.request("GET", "/metrics")).text
        names = ("num_requests_running", "num_requests_waiting", "kv_blocks_free")
        return Load(*(int(float(_sample(page, f"portico_{name}"))) for name in names))

    async def wait_until_idle(self, within: float) -> float | None:
        """Seconds until nothing runs or waits; None if that takes longer than `within`."""
        started_at = time.perf_counter()
        while not (await self.load()).is_idle:
            if time.perf_counter() - started_at > within:
                return None
            await asyncio.sleep(0.02)
        return time.perf_counter() - started_at

    async def wait_for_status(self, path: str, status: int, within: float) -> float | None:
        """Seconds until a GET gives that status; None if that takes longer than `within`."""
        started_at = time.perf_counter()
        while await self.status(path) != status:
            if time.perf_counter() - started_at > within:
                return None
            await asyncio.sleep(0.02)
        return time.perf_counter() - started_at

    async def wait_for_exit(self, within: float) -> int | None:
        """The exit code; None if it still runs after so many seconds."""
        try:
            return await asyncio.wait_for(self.process.wait(), within)
        except TimeoutError:
            return None


@asynccontextmanager
async def run_server(
    settings: Settings,
    *flags: str,
    engine: str = "scripted",
    module: tuple[str, ...] = ("portico",),
    environment: Mapping[str, str] | None = None,
    output: int | None = None,
) -> AsyncIterator[Server]:
    """Runs `portico serve` with these flags on a free port of the loopback address; the demo model unless one is named.

    `module` is what `python -m` runs, with arguments before `serve`: one of the checks' own for a server with a fault
    built in. `output` is a file descriptor for what it writes, which then is not in `log`.

    Raises:
        ServerStartFailed: it did not become ready.
    """
    log_path = settings.directory / f"server-{os.getpid()}-{next(_names)}.log"
    port = 0 if output is None else free_port()
    own_flags = ("--port", str(port), "--grpc-port", "0", "--engine", engine)
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *module, "serve", *own_flags, *flags),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log if output is None else output,
            stderr=log if output is None else output,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    server = Server(process, log_path)
    try:
        if output is None:
            await _wait_for_announcement(server)
        else:
            server.address = ("127.0.0.1", port)
            await _wait_until_ready(server)
        yield server
    finally:
        await _stop(process)


async def _wait_for_announcement(server: Server) -> None:
    deadline = time.perf_counter() + _START_TIMEOUT
    while (found := _READY.search(server.log)) is None:
        if server.process.returncode is not None or time.perf_counter() > deadline:
            raise ServerStartFailed(f"the server did not start:\n{server.log[-_SHOWN_LOG:]}")
        await asyncio.sleep(0.05)
    server.address = (found[1], int(found[2]))


async def _wait_until_ready(server: Server) -> None:
    deadline = time.perf_counter() + _START_TIMEOUT
    while await server.status("/v2/health/ready") != 200:
        if server.process.returncode is not None or time.perf_counter() > deadline:
            raise ServerStartFailed(f"the server did not start; its exit code is {server.process.returncode}")
        await asyncio.sleep(0.05)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        # Twice: whatever still runs in the server is of no interest any more.
        for _ in range(2):
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.05)
        try:
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT)
        except TimeoutError:
            process.kill()
            await process.wait()
    # The server has a session of its own, so whatever it left behind is in this group and nobody else is.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _inode(path: Path) -> str:
    try:
        return os.readlink(path).removeprefix("socket:[").removesuffix("]")
    except OSError:
        return ""


def _dotted(address: str) -> str:
    """An IPv4 address of the table of sockets; others as they are there."""
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(address))) if len(address) == 8 else address


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, _read(str(task)).split())
    return found


def _sample(page: str, name: str) -> str:
    found = re.search(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", page, re.MULTILINE)
    if found is None:
        raise ServerStartFailed(f"the metrics have no {name}")
    return found[1]
