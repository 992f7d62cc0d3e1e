"""Bounds on what clients send, as bytes on raw connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from portico.web.intake import ConnectionLimits
from portico.web.server import bind, serving

SLOW = {"head_timeout": 0.3, "body_timeout": 0.5, "idle_timeout": 0.4}
HEAD = b"POST /x HTTP/1.1\r\nHost: x\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body; a path with digits takes so many tenths of a second."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await asyncio.sleep(int(scope["path"].strip("/x") or 0) / 10)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def reject(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers before the body has come."""
    await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def listening(application: Any = echo, **limits: Any) -> AsyncIterator[int]:
    listener = bind("127.0.0.1", 0)
    port: int = listener.getsockname()[1]
    async with serving(application, listener, None, ConnectionLimits(**limits)):
        await asyncio.sleep(0.05)
        yield port


class Raw:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def read_all(self, timeout: float = 5.0) -> bytes:
        """Everything until the server closes the connection."""
        async with asyncio.timeout(timeout):
            parts = []
            try:
                while part := await self.reader.read(65536):
                    parts.append(part)
            except ConnectionResetError:
                pass
            return b"".join(parts)

    async def drip(self, parts: list[bytes], pause: float) -> None:
        """Sends parts one by one until they are all sent or the connection is closed."""
        try:
            for part in parts:
                self.writer.write(part)
                await self.writer.drain()
                await asyncio.sleep(pause)
        except ConnectionError:
            pass


@asynccontextmanager
async def connecting(port: int) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()


async def exchange(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """What is answered to parts until the connection is closed."""
    async with connecting(port) as raw:
        dripping = asyncio.ensure_future(raw.drip(list(parts), pause))
        answer = await raw.read_all()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"".join(b"A%d: b\r\n" % number for number in range(500)), id="many"),
        pytest.param(b"A: " + b"b" * 100_000 + b"\r\n", id="long"),
        pytest.param(b"A" * 100_000 + b": b\r\n", id="long name"),
        pytest.param(b"A: " + b"b" * 100_000, id="without an end"),
        pytest.param(b"".join(b"A: " + b"b" * 1000 + b"\r\n" for _ in range(100)), id="much"),
    ],
)
async def test_too_many_or_too_large_headers(head: bytes) -> None:
    async with listening() as port:
        answer = await exchange(port, HEAD + head + b"\r\n")
        assert status(answer) == 431
        assert b"x-request-id: " in answer
        # Byte by byte it is the same, and the same for what comes after a body.
        pieces = [(HEAD + head)[start : start + 5000] for start in range(0, len(HEAD + head), 5000)]
        assert status(await exchange(port, *pieces)) == 431
        chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
        trailed = await exchange(port, chunked + head)
        assert b"431" in trailed


async def test_a_long_path() -> None:
    async with listening() as port:
        path = b"/" + b"x" * 100_000
        assert status(await exchange(port, b"GET " + path + b" HTTP/1.1\r\n\r\n")) == 431


async def test_what_is_within_the_limits_is_served() -> None:
    async with listening() as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        headers = {f"A{number}": "b" * 400 for number in range(100)}
        body = b"x" * 1_000_000
        assert (await client.post("/x", content=body, headers=headers)).content == body

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(1000):
                yield b"ab"

        assert (await client.post("/x", content=chunks())).content == b"ab" * 1000


@pytest.mark.parametrize("part", [b"P", b"\r\n"])
async def test_a_head_that_comes_slowly(part: bytes) -> None:
    async with listening(**SLOW) as port:
        began_at = time.perf_counter()
        pieces = [HEAD[:1] * (part == b"P"), *[HEAD[start : start + 1] for start in range(1, 20)]]
        answer = await exchange(port, *(pieces if part == b"P" else [part] * 40), pause=0.1)
        assert status(answer) == 408
        assert 0.25 < time.perf_counter() - began_at < 1.5


async def test_a_body_that_comes_slowly() -> None:
    async with listening(**SLOW) as port:
        began_at = time.perf_counter()
        answer = await exchange(port, HEAD + b"Content-Length: 1000\r\n\r\n", *[b"x"] * 100, pause=0.05)
        assert status(answer) == 408
        assert 0.4 < time.perf_counter() - began_at < 2


async def test_a_body_that_is_shorter_than_it_said() -> None:
    async with listening(**SLOW) as port:
        assert status(await exchange(port, HEAD + b"Content-Length: 10\r\n\r\nabc")) == 408


async def test_a_large_body_has_more_time() -> None:
    async with listening(body_timeout=0.3) as port:
        size = 40 * 1000
        parts = [b"x" * 1000] * 40
        answer = await exchange(
            port, HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % size, *parts, pause=0.02
        )
        assert status(answer) == 200
        assert answer.endswith(b"x" * size)


async def test_connections_that_do_nothing() -> None:
    async with listening(**SLOW) as port:
        began_at = time.perf_counter()
        assert await exchange(port) == b""
        kept = await exchange(port, HEAD + b"Content-Length: 1\r\n\r\nx")
        assert kept.endswith(b"\r\n\r\nx")
        assert 0.7 < time.perf_counter() - began_at < 3


async def test_an_answer_that_takes_long_is_no_idle_time() -> None:
    async with listening(**SLOW) as port:
        # The next request has begun to come meanwhile.
        request = HEAD.replace(b"/x", b"/x9") + b"Content-Length: 1\r\n\r\nx"
        answer = await exchange(port, request, HEAD, pause=0.05)
        assert status(answer) == 200
        assert b"\r\n\r\nx" in answer


async def test_more_connections_than_there_may_be() -> None:
    async with listening(max_connections=2) as port:
        async with connecting(port) as first, connecting(port) as second:
            request = HEAD + b"Content-Length: 1\r\n\r\nx"
            for each in (first, second):
                each.writer.write(request)
                assert (await each.reader.readline()).startswith(b"HTTP/1.1 200")
            refused = await exchange(port)
            assert status(refused) == 503
            assert b"retry-after: " in refused
        await asyncio.sleep(0.1)
        assert status(await exchange(port, request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))) == 200


async def test_more_chunks_than_there_may_be() -> None:
    async with listening() as port:
        storm = b"1\r\nx\r\n" * 70_000
        answer = await exchange(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + storm + b"0\r\n\r\n")
        assert status(answer) == 400
        assert b"chunks" in answer


async def test_a_body_that_nobody_reads_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(reject, **SLOW) as port:
        answer = await exchange(port, HEAD + b"Content-Length: 10000000\r\n\r\n", *[b"x" * 1000] * 100, pause=0.05)
        assert status(answer) == 413
        assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "request_bytes",
    [
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\nx",
        HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nx",
        HEAD + b"A: b\0c\r\n\r\n",
        HEAD + b" folded: b\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_no_request(request_bytes: bytes) -> None:
    async with listening(**SLOW) as port:
        answer = await exchange(port, request_bytes)
        assert status(answer) == 400
        assert b"connection: close" in answer
