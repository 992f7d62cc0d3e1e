"""Many clients at once: idle connections and open streams."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from reliability.check import Check, Result, Settings
from reliability.client import Connection, encode_request
from reliability.outcome import Kind, unexpected
from reliability.server import Server, run_server
from reliability.spoken import CHAT, ENDLESS
from reliability.traffic import closed_loop, in_ms, learn, median, quantile, send

_MAX_CONNECTION_BYTES = 100 << 10
_LIVE = encode_request("GET", "/v2/health/live")


async def _open_idle(server: Server, number: int) -> list[Connection]:
    """Connections that had an answer each and are kept."""
    connections = []
    for _ in range(number):
        connection = await Connection.open(server.address)
        await connection.exchange(_LIVE, 10.0)
        connections.append(connection)
    return connections


async def _check_connections(settings: Settings) -> Result:
    num_idle, num_streams = settings.pick(1000, 400), settings.pick(200, 80)
    async with run_server(settings, "--max-num-seqs", "256", "--token-delay", "0.05") as server:
        (probe,) = await learn(server, 8, 1, (CHAT,), is_streamed=True)
        alone, _ = await closed_loop(server, [probe], 1, settings.pick(100, 20))
        num_fds, before = server.num_fds(), server.resident_bytes()
        long = replace(probe, num_tokens=20000, extra=ENDLESS)
        streams = [asyncio.create_task(send(server, long, leave_after=600.0)) for _ in range(num_streams)]
        await asyncio.sleep(2.0)
        per_stream = (server.resident_bytes() - before) / num_streams
        before = server.resident_bytes()
        idle = await _open_idle(server, num_idle)
        per_idle = (server.resident_bytes() - before) / num_idle
        num_kept = sum(not each.is_lost for each in idle)
        beside, _ = await closed_loop(server, [probe], 1, settings.pick(100, 20))
        for connection in idle:
            connection.close()
        for task in streams:
            task.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
        left = await _wait_for_fds(server, num_fds)
        idle_after = await server.wait_until_idle(2.0 * settings.slack)
    ratio = quantile((each.answer.seconds for each in beside), 0.99) / quantile(
        (each.answer.seconds for each in alone), 0.99
    )
    problems = unexpected([*alone, *beside], Kind.OK)
    if max(per_idle, per_stream) > _MAX_CONNECTION_BYTES:
        problems.append(f"an idle connection takes {per_idle / 1024:.0f} KiB, a stream {per_stream / 1024:.0f} KiB")
    if num_kept < num_idle:
        problems.append(f"only {num_kept} of {num_idle} idle connections were kept")
    if ratio > 2.0 * settings.slack:
        problems.append(f"a new request takes {ratio:.1f} times as long (p99)")
    if left or idle_after is None:
        problems.append(f"{left} descriptors more than before; idle after {idle_after}")
    return Result.judge(
        f"{num_idle} idle at {per_idle / 1024:.0f} KiB, {num_streams} streams at {per_stream / 1024:.0f} KiB; a new "
        f"request p99 {ratio:.2f}x ({in_ms(median(each.answer.seconds for each in beside))}); {left} descriptors left",
        problems,
    )


async def _wait_for_fds(server: Server, number: int) -> int:
    """How many descriptors more than that are open, after at most two seconds."""
    for _ in range(20):
        if server.num_fds() <= number:
            return 0
        await asyncio.sleep(0.1)
    return max(server.num_fds() - number, 0)


CHECKS = (
    Check(
        "L8",
        "Load",
        "Many connections",
        "1,000 idle connections and 200 open streams take at most 100 KiB each, a new request's p99 is at most twice "
        "as long, descriptors are all closed after",
        _check_connections,
    ),
)
