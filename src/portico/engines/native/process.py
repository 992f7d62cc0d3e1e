"""The worker process seen from the engine: started, spoken to, killed. Never imports torch."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from portico.engines.native.channel import FrameReader, encode
from portico.engines.native.config import SPIN_TURNS, NativeConfig
from portico.engines.native.messages import FromWorker, ToWorker

# Seconds that a killed process is waited for; one that waits for a disk that is gone may never end.
_MAX_EXIT = 60.0

_logger = logging.getLogger(__name__)
_CONTEXT = multiprocessing.get_context("spawn")


class WorkerProcess(asyncio.Protocol):
    """One process and the connection to it; used once."""

    def __init__(self, on_message: Callable[[FromWorker], None], on_exit: Callable[[WorkerProcess], None]) -> None:
        self._on_message = on_message
        self._on_exit = on_exit
        self._frames = FrameReader()
        self._process: Any = None
        self._transport: asyncio.Transport | None = None
        self._was_heard = False

    @property
    def pid(self) -> int:
        """The id of the process."""
        pid: int = self._process.pid
        return pid

    async def start(self, path: Path, config: NativeConfig) -> None:
        """Starts the process."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _CONTEXT.Process(
                target=_main, args=(theirs, path, config), name="portico-engine", daemon=True
            )
            with _interrupts_held():
                self._process.start()
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)
        self._transport = transport

    def send(self, message: ToWorker) -> None:
        """Sends a message; it never blocks, and goes nowhere once the process has ended."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(message))

    def was_heard(self) -> bool:
        """Whether anything has come since this was last asked."""
        was_heard, self._was_heard = self._was_heard, False
        return was_heard

    def kill(self) -> None:
        """Ends the process at once, however it is; `on_exit` is called soon."""
        self._process.kill()
        if self._transport is not None:
            self._transport.abort()

    async def stop(self) -> int | None:
        """Kills the process, which has nothing to save, and gives its exit code, if it ends. Safe to call twice."""
        if self._transport is not None:
            self._transport.abort()
        if self._process is None:
            return None
        process, self._process = self._process, None
        process.kill()
        # Taking back the memory of a large model takes the system a while.
        await asyncio.to_thread(process.join, _MAX_EXIT)
        exit_code: int | None = process.exitcode
        if exit_code is None:
            _logger.error("The engine's process %d was killed, but the system does not end it.", process.pid)
        else:
            process.close()
        return exit_code

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        self._was_heard = True
        for message in self._frames.feed(data):
            self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport when the process ends, however it does."""
        self._on_exit(self)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """A process started inside begins with SIGINT blocked, as Ctrl-C in a terminal goes to all of them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _main(connection: socket.socket, path: Path, config: NativeConfig) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_server, name="portico-parent", daemon=True).start()
    _set_thread_wait(config.thread_wait)
    # Imported here because this module is imported by the engine's process too, which stays free of torch.
    from portico.engines.native.worker import run

    run(connection, path, config)


def _end_with_server() -> None:
    """Ends this process when the server's has ended, however it did.

    The connection tells so only to who reads from it, which nobody does while a large model is loaded.
    """
    server = multiprocessing.parent_process()
    assert server is not None, "the engine runs in a process that the server has started"
    server.join()
    os._exit(1)


def _set_thread_wait(thread_wait: str) -> None:
    """Tells OpenMP how its threads wait at a barrier; it reads this when torch is imported.

    By default they spin for milliseconds, and on cores that others use too every barrier then lasts a time slice. A
    short spin catches the barriers of a decode step, which follow each other within microseconds.
    """
    if thread_wait == "passive":
        os.putenv("OMP_WAIT_POLICY", "passive")
    else:
        os.putenv("GOMP_SPINCOUNT", str(SPIN_TURNS))
