"""Connections as uvicorn serves them, with a shorter way for bodies in parts and an end for readers that stall."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from portico.web.body import ClientLeft

# The extension of the ASGI scope that has the `BodyWriter` of a request as its `writer`.
BODY_WRITER = "portico.body_writer"

# Bytes that the system keeps of a connection before they are sent; more wait in the transport, which then pauses.
_MAX_UNSENT = 128 * 1024

logger = logging.getLogger(__name__)


class BodyWriter:
    """Writes parts of a chunked body to the transport itself.

    ASGI's `send` takes a task's step, a message and its checks for every part, which for one token are more work than
    the token. The head and the last part go through `send` as always.
    """

    __slots__ = ("_cycle", "_flow", "_write")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._flow = cycle.flow
        self._write = cycle.transport.write

    @property
    def is_usable(self) -> bool:
        """Whether the head has been sent and says that the body comes in chunks."""
        return bool(self._cycle.chunked_encoding) and not self._cycle.response_complete

    @property
    def is_paused(self) -> bool:
        """Whether the reader is behind, so that `drain` is to be waited for before more is written."""
        return self._flow.write_paused

    def write(self, part: bytes) -> None:
        """Writes a part, which must not be empty: that would be the last one."""
        if not self._cycle.disconnected:
            self._write(b"%x\r\n%b\r\n" % (len(part), part))

    async def drain(self) -> None:
        """Returns when the reader has caught up.

        Raises:
            ClientLeft: the connection was lost before.
        """
        await self._flow.drain()
        if self._cycle.disconnected:
            raise ClientLeft


class Connection(HttpToolsProtocol):
    """One connection. One whose client leaves what is sent to it unread for `send_timeout` seconds is cut off."""

    def __init__(self, *arguments: Any, send_timeout: float | None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._send_timeout = send_timeout
        self._stall: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Called by the transport when too much is unread."""
        super().pause_writing()
        if self._send_timeout is not None:
            self._stall = self.loop.call_later(self._send_timeout, self._cut_off)

    def resume_writing(self) -> None:
        """Called by the transport when most has been read."""
        self._forget_stall()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport in the end."""
        self._forget_stall()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.scope["extensions"] = {BODY_WRITER: {"writer": BodyWriter(cycle)}}
        super()._start_asgi_task(cycle, app)

    def _forget_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _cut_off(self) -> None:
        logger.warning("a connection was cut off: its client has read nothing for %g seconds", self._send_timeout)
        self.transport.abort()


def bound_send_buffer(listener: socket.socket) -> None:
    """Keeps the system from taking megabytes for a client that does not read; connections inherit it."""
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MAX_UNSENT)
