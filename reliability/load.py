"""Load: what happens below, at and above the capacity of the server.

The engine is the scripted one with few slots and a set time per token, so that its capacity is far below what HTTP
costs: what is measured is admission and queueing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from reliability.check import Check, Result, Settings
from reliability.outcome import Kind, Outcome, count, unexpected
from reliability.server import Server, run_server
from reliability.spoken import TGI, Spoken
from reliability.traffic import (
    at_once,
    closed_loop,
    first_token_seconds,
    in_ms,
    learn,
    median,
    open_loop,
    quantile,
)

SLOTS, QUEUE = 8, 32
NUM_TOKENS = 24
# Of one request: its prompt and its tokens.
SERVICE_SECONDS = 0.1 + NUM_TOKENS * 0.01
FLAGS = ("--max-num-seqs", str(SLOTS), "--max-waiting", str(QUEUE), "--prefill-delay", "0.1", "--token-delay", "0.01")
_PAGES = ("/v2/health/live", "/v2/health/ready", "/metrics")
_REFUSALS = (Kind.OVER_QUOTA, Kind.UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Bench:
    """A server with requests for it, and what it can do.

    Attributes:
        capacity: requests per second in a closed loop of as many clients as there are slots.
        unloaded: median seconds to the first token of one request at a time.
    """

    server: Server
    requests: Sequence[Spoken]
    capacity: float
    unloaded: float


@asynccontextmanager
async def measured(settings: Settings, *flags: str, module: tuple[str, ...] = ("portico",)) -> AsyncIterator[Bench]:
    """A server whose capacity is known."""
    async with run_server(settings, *FLAGS, *flags, module=module) as server:
        learnt = await learn(server, NUM_TOKENS, 2)
        # TGI tells of every error of a stream inside it, with status 200; its refusals are looked at in whole answers.
        requests = [each for each in learnt if not (each.dialect is TGI and each.is_streamed)]
        streamed = [each for each in requests if each.is_streamed]
        alone, _ = await closed_loop(server, streamed, 1, len(streamed))
        _, capacity = await closed_loop(server, requests, SLOTS, settings.pick(400, 5 * SLOTS))
        yield Bench(server, requests, capacity, median(first_token_seconds(alone)))


async def _check_below_capacity(settings: Settings) -> Result:
    async with measured(settings) as bench:
        rate = 0.7 * bench.capacity
        outcomes = await open_loop(bench.server, bench.requests, rate, settings.pick(300, 6))
    slowest = quantile(first_token_seconds(outcomes), 0.99)
    problems = unexpected(outcomes, Kind.OK)
    if slowest > 5 * bench.unloaded * settings.slack:
        problems.append(f"p99 TTFT {in_ms(slowest)} is more than 5 times the unloaded {in_ms(bench.unloaded)}")
    figure = f"{rate:.0f} req/s: {count(outcomes)}; p99 TTFT {slowest / bench.unloaded:.1f}x unloaded p50"
    return Result.judge(figure, problems)


def _judge_refusals(outcomes: Sequence[Outcome], settings: Settings) -> tuple[str, list[str]]:
    """Whether refusals are quick, in their dialect's shape, and say when to try again."""
    refused = [each for each in outcomes if each.kind in _REFUSALS]
    problems = [
        f"not a refusal of {each.spoken.dialect.name} with Retry-After: {each.answer.headers} {each.answer.text[:100]}"
        for each in refused
        if not each.is_native_refusal
    ]
    slowest = quantile((each.answer.seconds for each in refused), 0.99)
    if slowest > 0.1 * settings.slack:
        problems.append(f"refusals took {in_ms(slowest)} (p99)")
    return f"refusals p99 {in_ms(slowest)}", problems


async def _check_overload(settings: Settings) -> Result:
    seconds = settings.pick(120, 6)
    async with measured(settings) as bench:
        outcomes = await open_loop(bench.server, bench.requests, 3 * bench.capacity, seconds)
    # What was accepted at the end is answered after it, as what was there at the start was before: a queue's worth.
    took = max(each.answer.ended_at for each in outcomes) - min(each.answer.sent_at for each in outcomes)
    goodput = sum(each.kind is Kind.OK for each in outcomes) / took
    problems = unexpected(outcomes, Kind.OK, *_REFUSALS)
    if goodput < 0.9 * bench.capacity:
        problems.append(f"{goodput:.1f} answers per second are less than 0.9 of the capacity, {bench.capacity:.1f}")
    figure, others = _judge_refusals(outcomes, settings)
    share = goodput / bench.capacity
    return Result.judge(f"goodput {share:.2f} C; {count(outcomes)}; {figure}", problems + others)


async def _check_burst(settings: Settings) -> Result:
    async with run_server(
        settings, *FLAGS, module=("reliability.faulty_server", "--fault", "count-preparations")
    ) as server:
        streamed = [each for each in await learn(server, NUM_TOKENS, 2) if each.dialect is not TGI]
        num_before = server.log.count("prepared a request")
        # A stream of several parts is admitted whole, so that no place is free again while the burst arrives.
        burst = [streamed[index % len(streamed)] for index in range(500)]
        outcomes = await at_once(server, burst)
        num_prepared = server.log.count("prepared a request") - num_before
    num_admitted = sum(each.kind is Kind.OK for each in outcomes)
    problems = unexpected(outcomes, Kind.OK, *_REFUSALS)
    _, others = _judge_refusals(outcomes, Settings(settings.is_short, 0, settings.directory, 100.0))
    if num_admitted != SLOTS + QUEUE:
        problems.append(f"{num_admitted} were admitted, not {SLOTS + QUEUE}")
    if num_prepared != num_admitted:
        problems.append(f"{num_prepared} were tokenised, but {num_admitted} admitted")
    return Result.judge(f"{count(outcomes)}; {num_prepared} tokenised", problems + others)


async def _check_recovery(settings: Settings) -> Result:
    async with measured(settings) as bench:
        server = bench.server
        overload = asyncio.create_task(open_loop(server, bench.requests, 3 * bench.capacity, settings.pick(30, 4)))
        outcomes = await overload
        idle_after = await server.wait_until_idle(5.0)
        later = await open_loop(server, bench.requests, 0.3 * bench.capacity, settings.pick(20, 6), seed=2)
        await server.wait_until_idle(5.0)
        waiting = (await server.load()).num_waiting
    typical = median(first_token_seconds(later))
    problems = unexpected(outcomes, Kind.OK, *_REFUSALS) + unexpected(later, Kind.OK)
    if idle_after is None:
        problems.append("there was still work 5 s after the overload")
    if typical > 1.2 * bench.unloaded * settings.slack:
        problems.append(f"p50 TTFT {in_ms(typical)} is more than 1.2 times the unloaded {in_ms(bench.unloaded)}")
    if waiting:
        problems.append(f"the gauge of the queue is {waiting} with nothing there")
    return Result.judge(f"p50 TTFT {typical / bench.unloaded:.2f}x unloaded; queue gauge {waiting}", problems)


async def _check_operators_pages(settings: Settings) -> Result:
    times: list[float] = []
    problems: list[str] = []
    async with measured(settings) as bench:

        async def look(stopping: asyncio.Event) -> None:
            while not stopping.is_set():
                for path in _PAGES:
                    started_at = time.perf_counter()
                    status = await bench.server.status(path)
                    times.append(time.perf_counter() - started_at)
                    if status != 200:
                        problems.append(f"{path} had status {status}")
                await asyncio.sleep(0.05)

        stopping = asyncio.Event()
        looking = asyncio.create_task(look(stopping))
        outcomes = await open_loop(bench.server, bench.requests, 3 * bench.capacity, settings.pick(120, 5))
        stopping.set()
        await looking
    slowest = quantile(times, 0.99)
    problems += unexpected(outcomes, Kind.OK, *_REFUSALS)
    if slowest > 0.25 * settings.slack:
        problems.append(f"pages took {in_ms(slowest)} (p99)")
    return Result.judge(f"{len(times)} looks, {len(problems)} failures, p99 {in_ms(slowest)}", problems)


CHECKS = (
    Check(
        "L1",
        "Load",
        "Below capacity",
        "at 0.7 of the capacity C every answer is exact; p99 TTFT at most 5 times the unloaded median",
        _check_below_capacity,
        is_quick=True,
    ),
    Check(
        "L2",
        "Load",
        "Overload",
        "at 3 C goodput at least 0.9 C, none hung; refusals are 429 or 503 in the dialect's shape with Retry-After "
        "from 1 to 60, p99 at most 100 ms",
        _check_overload,
        is_quick=True,
    ),
    Check(
        "L3",
        "Load",
        "Burst",
        f"of 500 requests at once exactly {SLOTS + QUEUE} (slots and queue) are admitted, and only those tokenised",
        _check_burst,
        is_quick=True,
    ),
    Check(
        "L4",
        "Load",
        "Recovery",
        "after 3 C, at 0.3 C, p50 TTFT is at most 1.2 times the unloaded one within 5 s, and the queue's gauge 0",
        _check_recovery,
    ),
    Check(
        "L7",
        "Load",
        "Operators' pages",
        "liveness, readiness and metrics asked 20 times a second at 3 C: none fails, ready stays 200, p99 at most "
        "250 ms",
        _check_operators_pages,
        is_quick=True,
    ),
)
