"""A small HTTP/1.1 client for streamed answers; connections are kept and used again."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from typing import Protocol, cast
from urllib.parse import urlsplit

import httptools

_MAX_ERROR_BYTES = 400


class ClientError(Exception):
    """A request failed; the message says how."""


class Receiver(Protocol):
    """Takes the body of an answer as it arrives."""

    def feed(self, data: bytes, now: float) -> None: ...
    def close(self, now: float) -> None: ...


class _Connection(asyncio.Protocol):
    """One connection; one exchange at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._receiver: Receiver | None = None
        self._done: asyncio.Future[None] | None = None
        self._now = 0.0
        self._is_complete = False
        # An answer that gives no length ends with its connection.
        self._ends_with_connection = False
        self.has_answered = False
        self.status = 0
        self.body = b""

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, message: bytes, receiver: Receiver | None) -> None:
        """Sends a request and gives the body of its answer to the receiver, unless the status is no success."""
        assert self._transport is not None
        self._done = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._receiver, self._is_complete, self._ends_with_connection = receiver, False, False
        self.has_answered, self.status, self.body = False, 0, b""
        self._transport.write(message)
        await self._done

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._now = time.perf_counter()
        self.has_answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._finish(ClientError(f"the answer is not HTTP: {error}"))
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._now = time.perf_counter()
        if error is None and self._ends_with_connection and self.status:
            self._is_complete = True
            self._finish(None)
        self._finish(ClientError(f"the connection was lost: {error or 'closed by the server'}"))

    def on_message_begin(self) -> None:
        self._ends_with_connection = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._ends_with_connection = False

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        if self.status == 200 and self._receiver is not None:
            self._receiver.feed(data, self._now)
        else:
            self.body += data

    def on_message_complete(self) -> None:
        self._is_complete = True
        if not self._parser.should_keep_alive():
            self.close()
        self._finish(None)

    def _finish(self, error: ClientError | None) -> None:
        if self._receiver is not None and self._is_complete:
            self._receiver.close(self._now)
        self._receiver = None
        if self._done is not None and not self._done.done():
            if error is None:
                self._done.set_result(None)
            else:
                self._done.set_exception(error)


class Client:
    """Asks one server; any number of requests at once, each on a connection of its own.

    Raises:
        ValueError: the URL is none of http or https.
    """

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"The base URL begins with http:// or https://, unlike {base_url!r}.")
        self._host = parts.hostname
        self._ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._ssl else 80)
        self._prefix = parts.path.rstrip("/")
        headers: Mapping[str, str] = {"Host": parts.netloc.rpartition("@")[2], "Accept": "*/*"}
        if api_key:
            headers = {**headers, "Authorization": f"Bearer {api_key}"}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._idle: list[_Connection] = []

    async def post(self, path: str, body: bytes, receiver: Receiver) -> None:
        """Sends JSON; the body of a successful answer goes to the receiver.

        Raises:
            ClientError: there is no connection, the status is not 200, or the answer breaks off.
        """
        head = self._head("POST", path) + f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        await self._exchange(head.encode() + body, receiver)

    async def get(self, path: str) -> bytes:
        """The body of a successful answer.

        Raises:
            ClientError: as for `post`.
        """
        return await self._exchange((self._head("GET", path) + "\r\n").encode(), None)

    def close(self) -> None:
        """Closes the connections that are kept."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _head(self, method: str, path: str) -> str:
        return f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._headers}"

    async def _exchange(self, message: bytes, receiver: Receiver | None) -> bytes:
        connection = self._take_idle()
        if connection is not None:
            try:
                return await self._use(connection, message, receiver)
            except ClientError:
                # A server may close a kept connection at any time; that is no failure of this request.
                if connection.has_answered:
                    raise
        return await self._use(await self._connect(), message, receiver)

    async def _use(self, connection: _Connection, message: bytes, receiver: Receiver | None) -> bytes:
        try:
            await connection.exchange(message, receiver)
        except BaseException:
            connection.close()
            raise
        if connection.is_open:
            self._idle.append(connection)
        if connection.status != 200:
            text = connection.body[:_MAX_ERROR_BYTES].decode(errors="replace").strip()
            raise ClientError(f"status {connection.status}: {text}")
        return connection.body

    async def _connect(self) -> _Connection:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                _Connection, self._host, self._port, ssl=self._ssl
            )
        except OSError as error:
            raise ClientError(f"no connection: {error}") from error
        return connection

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None
