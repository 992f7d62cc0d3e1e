"""Bytes that are hardly HTTP, and clients that never come to an end."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Callable, Iterator

from portico.app import build_dialects
from portico.config import ServerConfig
from reliability.check import Check, Result, Settings
from reliability.client import encode_request
from reliability.oracle import watch
from reliability.server import Server, run_server
from reliability.spoken import MODEL
from reliability.surfaces import surfaces

_METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PRI",
    "X" * 2000,
    "get",
    "",
)
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9999.9", b"", b"ICY", b"HTTP/1.1 HTTP/1.1")
_LINES = (
    b"transfer-encoding: chunked",
    b"transfer-encoding: chunked, identity",
    b"Transfer-Encoding : chunked",
    b"transfer-encoding:\x0bchunked",
    b"content-length: 0",
    b"content-length: 5",
    b"content-length: -1",
    b"expect: 100-continue",
    b"connection: upgrade\r\nupgrade: h2c",
    b"connection: close, keep-alive",
    b"host: a\r\nhost: b",
    b" folded: line",
    b"no colon at all",
    b"x: \x00",
    b"\xff\xfe: \xff",
    b": empty",
    b"range: bytes=0-99999999999",
)
_SCRAPS = (
    b"\x00",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"\xff" * 9,
    b" ",
    b"\t",
    b"%00",
    b"GET / HTTP/1.1\r\n\r\n",
    b"{" * 99,
)
_PATIENCE = 0.3
_SERVER_ERROR = re.compile(rb"HTTP/1\.[01] 5\d\d[^\r]*")
# Triton's words for what it does not do, such as sharing memory, and for loading and unloading models.
_UNSUPPORTED, _UNAVAILABLE = b" 501", b" 503"
_ORDER = re.compile(rb"/v2/repository/models/[^ ]*(?:un)?load")


def mutants(seed: int) -> Iterator[bytes]:
    """Requests to every path, each made wrong in a few ways; without end, and the same ones for a seed."""
    source = random.Random(seed)
    routes = [route for dialect in build_dialects(ServerConfig()) for route in dialect.routes]
    paths = [re.sub(r"{\w+(:path)?}", MODEL, route.path) for route in routes if not route.is_for_operators]
    bodies = [json.dumps(dict(each.body)).encode() for each in surfaces(MODEL)]
    changes: tuple[Callable[[random.Random, bytes], bytes], ...] = (
        _cut,
        _flip,
        _insert,
        _repeat,
        _add_line,
        _change_version,
        _end_lines_badly,
        _pipeline,
    )
    while True:
        method = source.choice(_METHODS)
        body = source.choice(bodies) if source.random() < 0.7 else None
        message = encode_request(method, source.choice(paths), body)
        for change in source.sample(changes, source.randint(0, 3)):
            message = change(source, message)
        yield message


def _cut(source: random.Random, message: bytes) -> bytes:
    start = source.randrange(len(message))
    return message[:start] + message[start + source.randrange(1, 40) :]


def _flip(source: random.Random, message: bytes) -> bytes:
    changed = bytearray(message)
    for _ in range(source.randint(1, 8)):
        changed[source.randrange(len(changed))] = source.randrange(256)
    return bytes(changed)


def _insert(source: random.Random, message: bytes) -> bytes:
    place = source.randrange(len(message))
    return message[:place] + source.choice(_SCRAPS) * source.choice((1, 1, 1, 500)) + message[place:]


def _repeat(source: random.Random, message: bytes) -> bytes:
    lines = message.split(b"\r\n")
    line = source.randrange(len(lines))
    return b"\r\n".join([*lines[:line], *[lines[line]] * source.choice((2, 3, 300)), *lines[line + 1 :]])


def _add_line(source: random.Random, message: bytes) -> bytes:
    first, _, rest = message.partition(b"\r\n")
    return first + b"\r\n" + source.choice(_LINES) + b"\r\n" + rest


def _change_version(source: random.Random, message: bytes) -> bytes:
    return message.replace(b"HTTP/1.1", source.choice(_VERSIONS), 1)


def _end_lines_badly(source: random.Random, message: bytes) -> bytes:
    return message.replace(b"\r\n", source.choice((b"\n", b"\r", b"\n\r", b"\r\r\n")), source.choice((1, 2, -1)))


def _pipeline(source: random.Random, message: bytes) -> bytes:
    return message + source.choice((message, bytes(source.randrange(256) for _ in range(300)), b"\r\n" * 50 + message))


async def _check_mutants(settings: Settings) -> Result:
    num_cases = settings.pick(20_000, 600)
    problems: list[str] = []
    statuses: dict[int, int] = {}
    source = mutants(seed=1)
    async with (
        run_server(settings, "--max-connections", "200") as server,
        watch(server, 48 << 20, slack=settings.slack) as oracle,
    ):

        async def send_some() -> None:
            for _ in range(num_cases // 8):
                message = next(source)
                received = await _throw(server, message)
                status = int(received[9:12]) if received[:5] == b"HTTP/" and received[9:12].isdigit() else 0
                statuses[status] = statuses.get(status, 0) + 1
                allowed = (_UNSUPPORTED, *([_UNAVAILABLE] if _ORDER.search(message) else []))
                found = [each for each in _SERVER_ERROR.findall(received) if each[8:12] not in allowed]
                problems.extend(f"{each.decode()} to {message[:100]!r}" for each in found)

        await asyncio.gather(*(send_some() for _ in range(8)))
    kinds = ", ".join(f"{number} x {status or 'no answer'}" for status, number in sorted(statuses.items()))
    return Result.judge(f"{num_cases} sent: {kinds}; {oracle.summary()}", problems + oracle.problems)


async def _throw(server: Server, message: bytes) -> bytes:
    """What comes back within the patience of a client that knows that it has sent nonsense."""
    reader, writer = await asyncio.open_connection(*server.address)
    received = b""
    try:
        writer.write(message)
        async with asyncio.timeout(_PATIENCE):
            while part := await reader.read(65536):
                received += part
    except (TimeoutError, OSError):
        pass
    finally:
        writer.transport.abort()
    return received


async def _check_drips(settings: Settings) -> Result:
    """Two hundred clients that send a byte now and then; what comes from others is answered meanwhile."""
    problems: list[str] = []
    # Half of them never end their head, the others never their body.
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    body = head + b"content-length: 1000\r\n\r\n{"
    lasted: list[float] = []

    async def drip(server: Server, beginning: bytes, limit: float) -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        started_at = time.perf_counter()
        try:
            writer.write(beginning)
            while time.perf_counter() - started_at < limit:
                async with asyncio.timeout(limit):
                    writer.write(b"x")
                    if not await _still_open(reader):
                        break
        except OSError:
            pass
        finally:
            writer.transport.abort()
        seconds = time.perf_counter() - started_at
        lasted.append(seconds)
        if seconds >= limit:
            problems.append(f"after {seconds:.0f} s a client that drips was still there")

    async with run_server(settings) as server, watch(server, 48 << 20, slack=settings.slack) as oracle:
        limits = ((head, 15.0 * settings.slack), (body, 40.0 * settings.slack))
        await asyncio.gather(*(drip(server, *limits[number % 2]) for number in range(200)))
    figure = f"closed after {min(lasted):.0f} to {max(lasted):.0f} s; {oracle.summary()}"
    return Result.judge(figure, problems + oracle.problems)


async def _still_open(reader: asyncio.StreamReader) -> bool:
    """Whether the server has neither answered nor hung up for a second and a half."""
    try:
        async with asyncio.timeout(1.5):
            await reader.read(65536)
    except TimeoutError:
        return True
    return False


CHECKS = (
    Check(
        "X6",
        "Bad input",
        "requests that are hardly HTTP",
        "no 5xx, no crash; streams beside exact, live p99 250 ms",
        _check_mutants,
        limit=180,
    ),
    Check(
        "X10",
        "Bad input",
        "200 clients that send a byte now and then",
        "closed within the deadlines for heads and bodies; streams beside exact, live p99 250 ms",
        _check_drips,
        limit=180,
    ),
)
