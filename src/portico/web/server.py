"""The listening server."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from portico.web.connection import bound_send_buffer
from portico.web.intake import BoundedConnection, ConnectionLimits
from portico.web.shutdown import Drain
from portico.web.tls import Tls

# How long the last bytes of answers have to get out once the drain is over, in seconds.
LAST_BYTES_TIMEOUT = 1
DEFAULT_LIMITS = ConnectionLimits()


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
        bound_send_buffer(listener)
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


def _ignore(reason: str) -> None:
    """Where nobody counts refusals."""


@asynccontextmanager
async def serving(
    application: ASGIApp,
    listener: socket.socket,
    tls: Tls | None,
    limits: ConnectionLimits = DEFAULT_LIMITS,
    on_refusal: Callable[[str], None] = _ignore,
) -> AsyncIterator[None]:
    """Serves while the block runs; then the answers that are being written are finished.

    `on_refusal` is told why a connection was refused before any dialect was known.
    """
    server = _Server(_config(application, tls, limits, on_refusal), lambda: None)
    task = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


async def serve(
    application: ASGIApp,
    listener: socket.socket,
    on_ready: Callable[[], None],
    drain: Drain,
    tls: Tls | None = None,
    limits: ConnectionLimits = DEFAULT_LIMITS,
    on_refusal: Callable[[str], None] = _ignore,
) -> None:
    """Serves until SIGINT or SIGTERM and then until the drain is over; a second signal cuts everything off.

    `on_refusal` is as for `serving`.
    """
    server = _Server(_config(application, tls, limits, on_refusal), on_ready)
    loop = asyncio.get_running_loop()
    draining: asyncio.Task[None] | None = None

    async def stop_in_order() -> None:
        await drain.run()
        server.should_exit = True

    def stop() -> None:
        nonlocal draining
        if draining is None:
            draining = loop.create_task(stop_in_order())
        else:
            server.should_exit = server.force_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await server.serve(sockets=[listener])
    if draining is not None:
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)


def _config(
    application: ASGIApp, tls: Tls | None, limits: ConnectionLimits, on_refusal: Callable[[str], None]
) -> uvicorn.Config:
    config = uvicorn.Config(
        application,
        http=cast(type[asyncio.Protocol], partial(BoundedConnection, limits=limits, on_refusal=on_refusal)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=LAST_BYTES_TIMEOUT,
    )
    config.load()
    if tls is not None:
        config.ssl = tls.context
    return config
