"""The listening server."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

# How long a stopping server waits for answers that are being written, in seconds.
_DRAIN_TIMEOUT = 30


class AddressInUse(Exception):
    """The address cannot be listened on; the message is one sentence for the operator."""


def bind(host: str, port: int) -> socket.socket:
    """Takes the address without listening yet, so that a taken port is known before a model is loaded.

    Raises:
        AddressInUse: it is taken, or is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise AddressInUse(f"cannot listen on {host} port {port}: {error}") from error
    return listener


class _Server(uvicorn.Server):
    """Leaves signals to the caller: the engine must be closed after the last answer and the exit code is ours."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


async def serve(application: ASGIApp, listener: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serves until SIGINT or SIGTERM, then finishes the answers that are being written; a second signal cuts them."""
    config = uvicorn.Config(
        application,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_DRAIN_TIMEOUT,
    )
    server = _Server(config, on_ready)

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await server.serve(sockets=[listener])
