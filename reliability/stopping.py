"""Being told to stop."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from reliability.check import Check, Result, Settings
from reliability.client import Answer, Connection, encode_request
from reliability.load import FLAGS, NUM_TOKENS, SERVICE_SECONDS, SLOTS
from reliability.outcome import Kind, Outcome, count, unexpected
from reliability.server import Server, run_server
from reliability.spoken import ANTHROPIC, CHAT, DIALECTS, ENDLESS, TGI, Spoken
from reliability.traffic import in_ms, learn, open_loop, send

_DIALECTS = [dialect for dialect in DIALECTS if dialect is not ANTHROPIC]
# How long the listening socket is closed before the process ends, at most.
_LAST_MOMENT = 0.3
# How long a request takes to reach the server, at most.
_ON_THE_WAY = 0.2
_READY = encode_request("GET", "/v2/health/ready")


@asynccontextmanager
async def _kept_alive(server: Server, number: int) -> AsyncIterator[list[Connection]]:
    """Connections that have had an answer each and stay open."""
    connections = [await Connection.open(server.address) for _ in range(number)]
    try:
        for connection in connections:
            await connection.exchange(_READY, 5.0)
        yield connections
    finally:
        for connection in connections:
            connection.close()


@dataclass
class _Drained:
    """What was seen while the server drained; times are of `time.perf_counter`."""

    outcomes: list[Outcome]
    refused: list[Answer]
    ready_after: float | None
    exit_code: int | None
    signalled_at: float
    ended_at: float

    @property
    def accepted(self) -> list[Outcome]:
        """Requests that were sent so long before the signal that the server has read them."""
        return [each for each in self.outcomes if each.answer.sent_at < self.signalled_at - _ON_THE_WAY]

    @property
    def doubtful(self) -> list[Outcome]:
        """Requests that the server may have read before or after the signal."""
        since = self.signalled_at - _ON_THE_WAY
        return [each for each in self.outcomes if since <= each.answer.sent_at <= self.signalled_at]

    @property
    def late(self) -> list[Outcome]:
        """Requests that were sent while it drained, but for its last moment, when nobody listens any more."""
        until = self.ended_at - _LAST_MOMENT
        return [each for each in self.outcomes if self.signalled_at < each.answer.sent_at < until]


async def _watch_ready(connection: Connection, signalled_at: float) -> float | None:
    """Seconds from the signal until readiness is 503 on a connection that is kept alive."""
    while time.perf_counter() < signalled_at + 2:
        answer = await connection.exchange(_READY, 2.0)
        if answer.status == 503:
            return answer.ended_at - signalled_at
        if not answer.status:
            return None
        await asyncio.sleep(0.01)
    return None


async def _drain(server: Server, requests: list[Spoken], seconds: float, deadline: float) -> _Drained:
    """Sends traffic, tells the server to stop in its middle, and asks for more on connections that are kept."""
    rate = 0.7 * SLOTS / SERVICE_SECONDS
    async with _kept_alive(server, 5) as (watcher, *others):
        traffic = asyncio.create_task(open_loop(server, requests, rate, seconds + 1))
        # A request that is longer than the others keeps the server draining for a while.
        long = asyncio.create_task(send(server, replace(requests[0], num_tokens=8 * NUM_TOKENS)))
        await asyncio.sleep(seconds)
        extra = [asyncio.create_task(send(server, each)) for each in requests[:SLOTS]]
        await asyncio.sleep(_ON_THE_WAY + 0.05)
        server.process.send_signal(signal.SIGTERM)
        signalled_at = time.perf_counter()
        ready_after = await _watch_ready(watcher, signalled_at)
        refused = [await each.exchange(requests[0].message, 5.0) for each in others]
        exit_code = await server.wait_for_exit(deadline + 2)
        ended_at = time.perf_counter()
        await long
        outcomes = [*await traffic, *await asyncio.gather(*extra)]
        return _Drained(outcomes, refused, ready_after, exit_code, signalled_at, ended_at)


async def _check_drain(settings: Settings) -> Result:
    deadline = 10.0
    async with run_server(settings, *FLAGS, "--drain-timeout", str(deadline)) as server:
        learnt = await learn(server, NUM_TOKENS, 2)
        requests = [each for each in learnt if not (each.dialect is TGI and each.is_streamed)]
        drained = await _drain(server, requests, settings.pick(30, 2), deadline)
    problems = unexpected(drained.accepted, Kind.OK) + unexpected(drained.late, Kind.UNAVAILABLE)
    problems += unexpected(drained.doubtful, Kind.OK, Kind.UNAVAILABLE)
    for answer in [*drained.refused, *(each.answer for each in drained.late)]:
        if not answer.headers.get("retry-after", "").isdecimal() or answer.status not in (503, 529):
            problems.append(f"a new request: {answer.end.value}, {answer.status} {answer.headers}")
    if drained.ready_after is None or drained.ready_after > 0.1 * settings.slack:
        problems.append(f"readiness was 503 after {drained.ready_after}")
    if drained.exit_code != 0:
        problems.append(f"the exit code was {drained.exit_code}")
    ready = "never" if drained.ready_after is None else f"after {in_ms(drained.ready_after)}"
    took = drained.ended_at - drained.signalled_at
    return Result.judge(
        f"accepted: {count(drained.accepted)}; after: {count(drained.late)}, kept connections "
        f"{[each.status for each in drained.refused]}; not ready {ready}; exit code {drained.exit_code} after "
        f"{took:.1f} s",
        problems,
    )


async def _check_deadline(settings: Settings) -> Result:
    deadline = 2.0
    problems: list[str] = []
    async with run_server(settings, "--token-delay", "0.05", "--drain-timeout", str(deadline)) as server:
        long = [
            Spoken(dialect, "too long", 2000, form, extra=ENDLESS) for dialect in _DIALECTS for form in (True, False)
        ]
        tasks = [asyncio.create_task(send(server, each)) for each in long]
        await asyncio.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        started_at = time.perf_counter()
        exit_code = await server.wait_for_exit(deadline + 2 * settings.slack)
        took = time.perf_counter() - started_at
        outcomes = await asyncio.gather(*tasks)
    told = unexpected(outcomes, Kind.STREAM_ERROR, Kind.UNAVAILABLE, Kind.SERVER_ERROR, Kind.TIMED_OUT)
    if exit_code != 0:
        problems.append(f"after {took:.1f} s the exit code was {exit_code}")
    once = Result.judge(f"deadline of {deadline:g} s: {count(outcomes)}; exit after {took:.1f} s", problems + told)
    return once.joined([await _cut_off(settings)])


async def _cut_off(settings: Settings) -> Result:
    """The second signal."""
    async with run_server(settings, "--token-delay", "0.05", "--drain-timeout", "30") as server:
        task = asyncio.create_task(send(server, Spoken(CHAT, "too long", 2000, is_streamed=True, extra=ENDLESS)))
        await asyncio.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        still_runs = server.process.returncode is None
        server.process.send_signal(signal.SIGTERM)
        started_at = time.perf_counter()
        exit_code = await server.wait_for_exit(1.0 * settings.slack)
        took = time.perf_counter() - started_at
        await task
    problems = [] if still_runs else ["the first signal did not wait for the request"]
    if exit_code is None:
        problems.append("it did not end with the second signal")
    return Result.judge(f"second signal: exit after {took:.2f} s", problems)


CHECKS = (
    Check(
        "F4",
        "Faults",
        "Draining",
        "told to stop at 0.7 C: everything accepted is exact, new requests get 503 with Retry-After on kept "
        "connections too, ready is 503 within 100 ms, exit 0 within the deadline",
        _check_drain,
        is_quick=True,
    ),
    Check(
        "F5",
        "Faults",
        "Drain deadline",
        "requests longer than the deadline end with an error, none hung, exit within it and 2 s; a second signal ends "
        "within 1 s",
        _check_deadline,
    ),
)
