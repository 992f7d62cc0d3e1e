"""Connections with bounds on what clients send: how much of it, in how many pieces, and how slowly."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from portico.web.connection import Connection

# Pieces of a chunked body; each costs some work, however small it is.
_MAX_CHUNKS = 65_536
# Bytes per second that a body must have after its first time.
_MIN_BODY_RATE = 16 * 1024
# Bytes that the parser is given at once: so much it may collect beyond the limit.
_MAX_PART = 16 * 1024
# Seconds for which a client that was answered already may go on with its body.
_LINGER_TIME = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a client may do with a connection; times are in seconds.

    Attributes:
        send_timeout: for reading what is sent to it; None is without end.
        idle_timeout: between requests, and before the first one.
        head_timeout: for the request line and the headers.
        body_timeout: for the body; large ones have more.
        max_connections: open at once.
        max_head_bytes: of the request line, the headers and the trailers.
        max_headers: lines of these.
    """

    send_timeout: float | None = None
    idle_timeout: float = 75.0
    head_timeout: float = 10.0
    body_timeout: float = 30.0
    max_connections: int = 4096
    max_head_bytes: int = 64 * 1024
    max_headers: int = 128


class _Refused(Exception):
    """The request cannot be read; the connection is closed with this status."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class BoundedConnection(Connection):
    """One connection; a client that goes beyond a limit is told so in HTTP's own words, and the connection is closed.

    No dialect is known then: the request has not been read. `on_refusal` is told the words.
    """

    def __init__(
        self, *arguments: Any, limits: ConnectionLimits, on_refusal: Callable[[str], None], **options: Any
    ) -> None:
        super().__init__(*arguments, send_timeout=limits.send_timeout, **options)
        # Declared as whole seconds, and only ever given to the event loop.
        self.timeout_keep_alive = limits.idle_timeout  # type: ignore[assignment]
        self._limits = limits
        self._on_refusal = on_refusal
        self._deadline: asyncio.TimerHandle | None = None
        self._refusal: _Refused | None = None
        self._is_reading = False
        self._head_bytes = 0
        self._num_headers = 0
        self._num_chunks = 0
        self._body_bytes = 0
        self._body_began_at = 0.0
        # Since the parser last gave anything: what it collects.
        self._num_unparsed = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop in the beginning."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            self._refuse(_Refused(HTTPStatus.SERVICE_UNAVAILABLE, "The server has as many connections as it may have."))
            return
        self.timeout_keep_alive_task = self.loop.call_later(self._limits.idle_timeout, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop in the end."""
        self._set_deadline(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        for start in range(0, len(data), _MAX_PART):
            if self.transport.is_closing():
                return
            if self._deadline is None:
                # Also before the parser knows: empty lines may stand before a request.
                self._set_deadline(self._limits.head_timeout)
            part = data[start : start + _MAX_PART]
            self._num_unparsed += len(part)
            super().data_received(part)
            if self._num_unparsed > self._limits.max_head_bytes and not self.transport.is_closing():
                self._refuse(self._head_too_large())

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn when parsing failed."""
        self._refuse(self._refusal or _Refused(HTTPStatus.BAD_REQUEST, msg))

    def on_message_begin(self) -> None:
        """Called by the parser."""
        super().on_message_begin()
        self._is_reading = True
        self._num_unparsed = self._head_bytes = self._num_headers = self._num_chunks = self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Called by the parser, perhaps with a part."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser, for trailers too, which nobody reads."""
        self._num_headers += 1
        if self._num_headers > self._limits.max_headers:
            self._raise(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"The request has more than {self._limits.max_headers} headers.",
            )
        self._count_head(len(name) + len(value))
        if not self._num_chunks:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        super().on_headers_complete()
        self._num_unparsed = 0
        self._body_began_at = self.loop.time()
        self._set_deadline(self._limits.body_timeout)

    def on_chunk_header(self) -> None:
        """Called by the parser."""
        self._num_chunks += 1
        if self._num_chunks > _MAX_CHUNKS:
            self._raise(HTTPStatus.BAD_REQUEST, f"The body has more than {_MAX_CHUNKS} chunks.")

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._num_unparsed = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._is_reading = False
        self._num_unparsed = 0
        self._set_deadline(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Called when an answer was written; what is left of its body is of no use any more."""
        super().on_response_complete()
        if self._is_reading and not self.pipeline:
            self._set_deadline(min(_LINGER_TIME, self._limits.body_timeout))

    def _count_head(self, num_bytes: int) -> None:
        self._num_unparsed = 0
        self._head_bytes += num_bytes
        if self._head_bytes > self._limits.max_head_bytes:
            too_large = self._head_too_large()
            self._raise(too_large.status, too_large.reason)

    def _head_too_large(self) -> _Refused:
        return _Refused(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"The headers have more than {self._limits.max_head_bytes} bytes.",
        )

    def _raise(self, status: HTTPStatus, reason: str) -> None:
        """Ends parsing, whose caller then asks for the refusal."""
        self._refusal = _Refused(status, reason)
        raise self._refusal

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._meet_deadline)

    def _meet_deadline(self) -> None:
        """The time for a head or a body is over, unless the client has a reason to take longer."""
        self._deadline = None
        if self.transport.is_closing():
            return
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if self.pipeline or (is_answering and not self.cycle.more_body):
            # An answer is being written, and the server itself does not read on before its end.
            self._set_deadline(self._limits.head_timeout)
            return
        if is_answering:
            allowed = self._limits.body_timeout + self._body_bytes / _MIN_BODY_RATE
            left = self._body_began_at + allowed - self.loop.time()
            if left > 0:
                self._set_deadline(left)
                return
        if self.cycle is not None and self.cycle.response_complete and self._is_reading and self._body_began_at:
            # It was answered, perhaps that its body is too large.
            self.transport.close()
            return
        self._refuse(_Refused(HTTPStatus.REQUEST_TIMEOUT, "The request did not come in time."))

    def _refuse(self, refusal: _Refused) -> None:
        """Answers unless an answer is being written already, and closes the connection."""
        logger.info("a connection was refused: %s", refusal.reason)
        self._on_refusal(refusal.status.phrase)
        is_begun = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not is_begun:
            self.transport.write(_answer(refusal))
        self.transport.close()


def _answer(refusal: _Refused) -> bytes:
    body = json.dumps({"error": {"message": refusal.reason, "type": refusal.status.phrase}}).encode()
    head = [
        f"HTTP/1.1 {refusal.status} {refusal.status.phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        f"x-request-id: {uuid.uuid4().hex}",
        *(["retry-after: 1"] if refusal.status is HTTPStatus.SERVICE_UNAVAILABLE else []),
        "connection: close",
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
