"""One HTTP response on the bare ASGI interface."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping

from starlette.types import Scope, Send

from portico.core.dialect import Reply
from portico.web.connection import BODY_WRITER, BodyWriter

# Bytes that are written at once at most: they are copied, and perhaps encrypted, while everybody waits.
_MAX_PIECE = 256 * 1024
_NO_BUFFERING = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class Sender:
    """Sends one response and remembers how far it has come; `status` is 0 until it has begun.

    `names` are headers that every answer to the request has.
    """

    def __init__(self, scope: Scope, send: Send, names: Mapping[str, str]) -> None:
        self._send = send
        self._names = names
        self._has_body = scope["method"] != "HEAD"
        # Taken out, as it holds the request that holds the scope: as a circle they would outlive the connection.
        self._writer: BodyWriter | None = scope.get("extensions", {}).pop(BODY_WRITER, {}).get("writer")
        self._written_at = 0.0
        self.status = 0

    async def reply(self, reply: Reply) -> None:
        """Sends a whole response."""
        headers = {"content-length": str(len(reply.body)), **reply.headers}
        await self._start(reply.status, reply.media_type if reply.body else "", headers)
        body = reply.body if self._has_body else b""
        if len(body) > _MAX_PIECE:
            for piece in _cut(body):
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            body = b""
        await self._send({"type": "http.response.body", "body": body})

    async def start_stream(self, media_type: str, headers: Mapping[str, str]) -> None:
        """Sends the head of a response whose body comes in parts; proxies are told not to hold it back."""
        await self._start(200, media_type, {**_NO_BUFFERING, **headers})
        if self._writer is not None and not self._writer.is_usable:
            self._writer = None

    async def write(self, part: bytes) -> None:
        """Sends a part of the body, a large one piece by piece; waits while the client reads slowly.

        Raises:
            ClientLeft: the connection was lost meanwhile.
        """
        if len(part) > _MAX_PIECE:
            for piece in _cut(part):
                await self.write(piece)
            return
        if self.write_at_once(part):
            return
        if self._writer is not None:
            await self._writer.drain()
            self._writer.write(part)
        else:
            self._written_at = time.monotonic()
            await self._send({"type": "http.response.body", "body": part, "more_body": True})

    def write_at_once(self, part: bytes) -> bool:
        """Sends a part of the body if the client reads as fast as it is written to; whether it did."""
        if not part:
            return True
        writer = self._writer
        if writer is None or writer.is_paused:
            return False
        self._written_at = time.monotonic()
        writer.write(part)
        return True

    async def end_stream(self, part: bytes) -> None:
        """Sends the last part of the body."""
        await self._send({"type": "http.response.body", "body": part})

    async def keep_alive(self, part: bytes, silence: float) -> None:
        """Writes a part whenever nothing has been written for so many seconds; goes on until it is cancelled."""
        while True:
            quiet_for = time.monotonic() - self._written_at
            if self.status and quiet_for >= silence:
                await self.write(part)
                quiet_for = 0.0
            await asyncio.sleep(silence - quiet_for if self.status else silence)

    async def _start(self, status: int, media_type: str, headers: Mapping[str, str]) -> None:
        self.status = status
        self._written_at = time.monotonic()
        named = {"content-type": media_type} if media_type else {}
        named.update((name.lower(), value) for name, value in headers.items())
        named.update(self._names)
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})


def _cut(body: bytes) -> Iterator[bytes]:
    return (body[start : start + _MAX_PIECE] for start in range(0, len(body), _MAX_PIECE))
