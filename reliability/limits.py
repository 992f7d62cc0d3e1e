"""What is there too little of: time, KV cache, disk, descriptors."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from contextlib import suppress
from dataclasses import replace

from reliability.check import Check, Result, Settings
from reliability.client import Connection
from reliability.outcome import Kind, count, unexpected
from reliability.server import Server, run_server
from reliability.spoken import ANTHROPIC, CHAT, COMPLETION, DIALECTS, ENDLESS, TGI, Spoken
from reliability.traffic import at_once, in_ms, learn, send

_TIMED_OUT = (Kind.TIMED_OUT, Kind.UNAVAILABLE, Kind.SERVER_ERROR, Kind.STREAM_ERROR)
_LATE = 0.5


async def _check_small_cache(settings: Settings) -> Result:
    """Requests that together need three times the blocks there are; each alone fits."""
    number, num_tokens = settings.pick(200, 48), 64
    # The demo model has 12 KiB of keys and values for each token: 1024 tokens.
    flags = ("--kv-cache-memory", str(1024 * 6 * 1024), "--max-model-len", "512", "--max-num-seqs", "64")
    async with run_server(settings, *flags, engine="native") as server:
        learnt = await learn(server, num_tokens, 4, (CHAT, COMPLETION, TGI), concurrency=1)
        before = await server.load()
        outcomes = await at_once(server, [learnt[each % len(learnt)] for each in range(number)])
        after = await server.load()
    problems = unexpected(outcomes, Kind.OK, Kind.UNAVAILABLE, Kind.OVER_QUOTA)
    if after.num_free_blocks != before.num_free_blocks:
        problems.append(f"{before.num_free_blocks - after.num_free_blocks} blocks were not freed")
    return Result.judge(f"{number} requests with {before.num_free_blocks} blocks: {count(outcomes)}", problems)


async def _check_clocks(settings: Settings) -> Result:
    """Each of the three times is hit by requests of all dialects, in both forms."""
    queue, stall, total = (2.0, 5.0, 20.0) if not settings.is_short else (1.0, 1.5, 2.5)
    slow = ("--max-num-seqs", "16", "--token-delay", "0.05", "--request-timeout", str(total))
    parts = [
        await _hit("total", settings, total, *slow),
        await _hit("stall", settings, stall, "--token-delay", "0.01", "--stall-timeout", str(stall)),
        await _hit(
            "queue", settings, queue, "--max-num-seqs", "1", "--token-delay", "0.02", "--queue-timeout", str(queue)
        ),
    ]
    return parts[0].joined(parts[1:])


async def _hit(name: str, settings: Settings, due: float, *flags: str) -> Result:
    dialects = [dialect for dialect in DIALECTS if dialect is not ANTHROPIC]
    late = due + _LATE * settings.slack
    module = ("reliability.faulty_server", "--fault", "stall") if name == "stall" else ("portico",)
    async with run_server(settings, *flags, module=module) as server:
        running = Spoken(CHAT, "I was here first", 3000, is_streamed=True, extra=ENDLESS)
        first = None
        if name == "queue":
            first = asyncio.create_task(send(server, running, leave_after=late + 1))
            await asyncio.sleep(0.2)
        asked = [Spoken(each, "wait for me", 3000, form, extra=ENDLESS) for each in dialects for form in (True, False)]
        outcomes = await at_once(server, asked)
        if first is not None:
            outcomes.append(await first)
        idle_after = await server.wait_until_idle(1.0 * settings.slack)
    problems = unexpected(outcomes[: len(asked)], *_TIMED_OUT) + unexpected(outcomes[len(asked) :], Kind.CANCELLED)
    slowest = max(each.answer.seconds for each in outcomes[: len(asked)])
    if slowest > late:
        problems.append(f"{name}: told after {slowest:.1f} s instead of {due:g} s")
    if idle_after is None:
        problems.append(f"{name}: places were not free a second later")
    return Result.judge(f"{name} {due:g} s: told within +{in_ms(slowest - due)}", problems)


async def _check_no_disk(settings: Settings) -> Result:
    full = await _fill_disk(settings)
    return full.joined([await _close_log(settings), await _run_out_of_descriptors(settings)])


async def _fill_disk(settings: Settings) -> Result:
    """The device that is always full takes the log."""
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        async with run_server(settings, output=full) as server:
            return await _ask_all(server, "log on a full disk")
    finally:
        os.close(full)


async def _close_log(settings: Settings) -> Result:
    """Whoever read the log has gone."""
    reader, writer = os.pipe()
    try:
        async with run_server(settings, output=writer) as server:
            os.close(writer)
            os.close(reader)
            return await _ask_all(server, "log closed")
    finally:
        for each in (reader, writer):
            with suppress(OSError):
                os.close(each)


async def _ask_all(server: Server, what: str) -> Result:
    outcomes = await at_once(server, await learn(server, 8, 2))
    live = await server.status("/v2/health/live")
    problems = unexpected(outcomes, Kind.OK) + ([] if live == 200 else [f"liveness had status {live}"])
    return Result.judge(f"{what}: {count(outcomes)}", problems)


async def _run_out_of_descriptors(settings: Settings) -> Result:
    limit = 256
    async with run_server(settings, "--token-delay", "0.02") as server:
        (stream,) = await learn(server, 100, 1, (CHAT,), is_streamed=True)
        num_fds = server.num_fds()
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, limit))
        running = asyncio.create_task(send(server, stream))
        await asyncio.sleep(0.2)
        crowd = [await Connection.open(server.address) for _ in range(2 * limit)]
        during = await running
        await asyncio.sleep(0.5)
        for connection in crowd:
            connection.close()
        started_at = time.perf_counter()
        after = await send(server, replace(stream), timeout=30.0)
        recovered = time.perf_counter() - started_at
        left = server.num_fds() - num_fds
    problems = unexpected([during, after], Kind.OK)
    if left > 1:
        problems.append(f"{left} descriptors were not closed")
    return Result.judge(f"{limit} descriptors: {count([during])} during, answered {in_ms(recovered)} after", problems)


CHECKS = (
    Check(
        "F10",
        "Faults",
        "KV cache over-committed",
        "requests that together need three times the KV cache are all exact, or refused at once; none waits for ever",
        _check_small_cache,
        uses_model=True,
    ),
    Check(
        "F14",
        "Faults",
        "Time limits",
        "the times for the whole, for waiting, and without a token are each hit: an error within 0.5 s of it, and the "
        "places are free",
        _check_clocks,
    ),
    Check(
        "F15",
        "Faults",
        "Full disk, closed log, no descriptors",
        "the server goes on answering, and recovers when descriptors are free again",
        _check_no_disk,
    ),
)
