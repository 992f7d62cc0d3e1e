"""An HTTP/1.1 client that sends any bytes, notes when each part of an answer came, and never hides how it ended."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

import httptools


class End(Enum):
    """How an exchange ended, seen from the client."""

    COMPLETE = "a whole answer came"
    LOST = "the connection ended before the answer did"
    REFUSED = "there was no connection"
    LATE = "the answer did not end in time"
    LEFT = "the client left on purpose"


@dataclass(slots=True)
class Answer:
    """What came back. Times are of `time.perf_counter`; `status` is 0 when no head came."""

    sent_at: float
    end: End = End.LATE
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    head_at: float = 0.0
    part_times: list[float] = field(default_factory=list)
    ended_at: float = 0.0

    @property
    def seconds(self) -> float:
        """From sending to the end."""
        return self.ended_at - self.sent_at

    @property
    def first_part_seconds(self) -> float:
        """From sending to the first part of the body, or to the end if it has none."""
        return (self.part_times[0] if self.part_times else self.ended_at) - self.sent_at

    @property
    def gaps(self) -> list[float]:
        """Seconds between parts of the body that did not arrive together."""
        times = self.part_times
        return [after - before for before, after in itertools.pairwise(times) if after > before]

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")


class Connection(asyncio.Protocol):
    """One connection, for one exchange after the other."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer = Answer(0.0)
        self._done: asyncio.Future[None] | None = None
        self._on_part: Callable[[Answer], None] | None = None
        self.is_lost = False

    @classmethod
    async def open(cls, address: tuple[str, int], receive_buffer: int | None = None) -> Connection:
        """Connects.

        `receive_buffer` is the size of the system's buffer for what was not read yet, in bytes.

        Raises:
            OSError: nobody listens.
        """
        connecting = socket.socket()
        connecting.setblocking(False)
        if receive_buffer is not None:
            connecting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(connecting, address)
        except BaseException:
            connecting.close()
            raise
        _, connection = await loop.create_connection(cls, sock=connecting)
        return connection

    async def exchange(
        self,
        message: bytes,
        timeout: float,
        leave_after: float | None = None,
        on_part: Callable[[Answer], None] | None = None,
    ) -> Answer:
        """Sends a request and gives what came back within so many seconds.

        After `leave_after` seconds the client closes the connection; `on_part` is called with every part of the body,
        and may call `close`.
        """
        self._answer = answer = Answer(time.perf_counter())
        self._parser = httptools.HttpResponseParser(self)
        self._on_part = on_part
        self._done = asyncio.get_running_loop().create_future()
        if self.is_lost:
            self._finish(End.LOST)
        else:
            self.send(message)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._done), timeout if leave_after is None else leave_after)
        if not self._done.done():
            self._finish(End.LATE if leave_after is None else End.LEFT)
            self.close()
        return answer

    def send(self, data: bytes) -> None:
        """Sends bytes that need not be a whole request."""
        if self._transport is not None:
            self._transport.write(data)

    def pause(self) -> None:
        """Reads nothing more: what the server sends stays in the system's buffers, and then in the server's."""
        assert self._transport is not None
        self._transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        assert self._transport is not None
        self._transport.resume_reading()

    def close(self) -> None:
        """Leaves."""
        if self._done is not None and not self._done.done():
            self._finish(End.LEFT)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._finish(End.LOST)
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self._finish(End.LOST)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._answer.head_at = time.perf_counter()
        self._answer.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self._answer.part_times.append(time.perf_counter())
        self._answer.body += data
        if self._on_part is not None:
            self._on_part(self._answer)

    def on_message_complete(self) -> None:
        self._finish(End.COMPLETE)

    def _finish(self, end: End) -> None:
        if self._done is not None and not self._done.done():
            self._answer.end = end
            self._answer.ended_at = time.perf_counter()
            self._done.set_result(None)


def encode_request(
    method: str, path: str, body: bytes | Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of a request; a mapping is sent as JSON, and headers that are given replace those of the same name."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    named = {"host": "127.0.0.1"}
    if body is not None:
        named |= {"content-type": "application/json", "content-length": str(len(data))}
    named |= {name.lower(): value for name, value in (headers or {}).items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + data


async def exchange(
    address: tuple[str, int],
    message: bytes,
    timeout: float = 30.0,
    leave_after: float | None = None,
    on_part: Callable[[Answer], None] | None = None,
) -> Answer:
    """One request on a connection of its own; see `Connection.exchange`."""
    started_at = time.perf_counter()
    try:
        connection = await Connection.open(address)
    except OSError:
        return Answer(started_at, End.REFUSED, ended_at=time.perf_counter())
    try:
        answer = await connection.exchange(message, timeout, leave_after, on_part)
    finally:
        connection.close()
    answer.sent_at = started_at
    return answer
