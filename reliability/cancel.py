"""Clients that leave, and clients that stop reading."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import replace

from reliability.check import Check, Result, Settings
from reliability.client import Connection
from reliability.outcome import Kind, Outcome, count, unexpected
from reliability.server import Server, run_server
from reliability.spoken import ANTHROPIC, CHAT, COMPLETION, DIALECTS, ENDLESS, Spoken
from reliability.traffic import in_ms, learn, median, prompts, quantile, send

_LEAVE_AFTER = 0.5
_STALLED_BUFFER = 256 << 10
_MAX_IDLE_CPU = 0.1


def _endless(num_tokens: int) -> list[Spoken]:
    """Requests for as much as the context allows: each dialect in both forms, and with four choices."""
    extra = (("n", 4), ("temperature", 1), *ENDLESS)
    forms = [(dialect, form) for dialect in DIALECTS if dialect is not ANTHROPIC for form in (False, True)]
    plain = [Spoken(dialect, prompts(1)[0], num_tokens, form, extra=ENDLESS) for dialect, form in forms]
    wide = [
        Spoken(dialect, prompts(1)[0], num_tokens, form, extra=extra)
        for dialect in (CHAT, COMPLETION)
        for form in (False, True)
    ]
    return plain + wide


async def _judge_silence(server: Server, before: int, settings: Settings) -> tuple[str, list[str]]:
    """What is left of requests whose clients have all gone: nothing, within a second, and no processor time either."""
    problems = []
    idle_after = await server.wait_until_idle(1.0 * settings.slack)
    if idle_after is None:
        problems.append(f"there is still work: {await server.load()}")
    if (load := await server.load()).num_free_blocks != before:
        problems.append(f"{load.num_free_blocks} blocks are free, {before} were")
    used = server.cpu_seconds()
    await asyncio.sleep(1.0)
    used = server.cpu_seconds() - used
    if used > _MAX_IDLE_CPU:
        problems.append(f"with nothing to do it used {used:.2f} s of processor time in a second")
    return "not idle" if idle_after is None else f"idle after {in_ms(idle_after)}", problems


async def _leave_all(settings: Settings, engine: str, number: int, num_tokens: int, *flags: str) -> Result:
    async with run_server(settings, "--max-waiting", "1000", *flags, engine=engine) as server:
        (probe,) = await learn(server, 8, 1, (CHAT,), is_streamed=True)
        await server.wait_until_idle(5.0)
        before = (await server.load()).num_free_blocks
        requests = itertools.islice(itertools.cycle(_endless(num_tokens)), number)
        outcomes = await asyncio.gather(*(send(server, each, leave_after=_LEAVE_AFTER) for each in requests))
        after = await send(server, probe)
        problems = unexpected(outcomes, Kind.CANCELLED) + unexpected([after], Kind.OK)
        if after.answer.seconds > 2.0 * settings.slack:
            problems.append(f"the next request took {after.answer.seconds:.1f} s")
        figure, others = await _judge_silence(server, before, settings)
    return Result.judge(
        f"{engine}: {count(outcomes)}, next answer after {in_ms(after.answer.seconds)}, {figure}", problems + others
    )


async def _check_leaving(settings: Settings) -> Result:
    number = settings.pick(200, 54)
    flags = ("--max-num-seqs", "8", "--token-delay", "0.02")
    scripted = await _leave_all(settings, "scripted", number, 16000, *flags)
    return scripted.joined([await _leave_all(settings, "native", number, 1500, "--max-num-seqs", "8")])


async def _check_leaving_queue(settings: Settings) -> Result:
    """One slot: while one request is answered all others wait, and leave while they do."""
    rounds, leavers = settings.pick(100, 12), 4
    actives: list[Outcome] = []
    left: list[Outcome] = []
    async with run_server(settings, "--max-num-seqs", "1", "--token-delay", "0.01") as server:
        requests = await learn(server, 24, 2, concurrency=1)
        for number in range(rounds):
            active = asyncio.create_task(send(server, requests[number % len(requests)]))
            await asyncio.sleep(0.05)
            queued = (requests[(number + 1 + each) % len(requests)] for each in range(leavers))
            left += await asyncio.gather(*(send(server, each, leave_after=0.03) for each in queued))
            actives.append(await active)
        idle_after = await server.wait_until_idle(1.0 * settings.slack)
    problems = unexpected(actives, Kind.OK) + unexpected(left, Kind.CANCELLED)
    if idle_after is None:
        problems.append("requests whose clients had left were still there a second later")
    return Result.judge(f"{rounds} rounds: of the active {count(actives)}; of the queued {count(left)}", problems)


async def _stall(server: Server, spoken: Spoken) -> Connection:
    """Asks for a long stream and reads nothing of it."""
    connection = await Connection.open(server.address, receive_buffer=4096)
    connection.send(spoken.message)
    connection.pause()
    return connection


async def _watch_reader(server: Server, spoken: Spoken, number: int) -> tuple[list[Outcome], list[float]]:
    outcomes = [await send(server, spoken) for _ in range(number)]
    return outcomes, [gap for each in outcomes for gap in each.answer.gaps]


async def _watch_stalled(server: Server, num_fds: int, within: float) -> tuple[float | None, int]:
    """Seconds until the stalled streams' descriptors are closed, and the server's largest size until then."""
    started_at, largest = time.perf_counter(), 0
    while time.perf_counter() < started_at + within:
        largest = max(largest, server.resident_bytes())
        if server.num_fds() <= num_fds:
            return time.perf_counter() - started_at, largest
        await asyncio.sleep(0.2)
    return None, largest


async def _check_stalled_readers(settings: Settings) -> Result:
    number, num_tokens = 20, 10_000
    patience = str(settings.pick(45, 6))
    flags = ("--max-num-seqs", "32", "--token-delay", "0.005", "--log-level", "error", "--send-timeout", patience)
    async with run_server(settings, *flags) as server:
        (reader,) = await learn(server, settings.pick(400, 150), 1, (CHAT,), is_streamed=True)
        alone, gaps_alone = await _watch_reader(server, reader, 4)
        before, num_fds = server.resident_bytes(), server.num_fds()
        long = replace(reader, num_tokens=num_tokens, extra=ENDLESS)
        stalled = [await _stall(server, long) for _ in range(number)]
        outcomes, gaps = await _watch_reader(server, reader, 8)
        closed_after, largest = await _watch_stalled(server, num_fds, 60.0 * settings.slack)
        growth = max(largest - before, 0) / number
        for connection in stalled:
            connection.close()
        idle_after = await server.wait_until_idle(1.0 * settings.slack)
    ratio = quantile(gaps, 0.99) / quantile(gaps_alone, 0.99)
    problems = unexpected([*alone, *outcomes], Kind.OK)
    if growth > _STALLED_BUFFER:
        problems.append(f"the server keeps {growth / 1024:.0f} KiB for each stalled reader")
    if ratio > 1.5 * settings.slack:
        problems.append(f"the p99 gap between tokens of others grew {ratio:.1f} times")
    if closed_after is None:
        problems.append("60 s later there were still streams that nobody reads")
    if idle_after is None:
        problems.append("requests of stalled readers go on after they have left")
    closed = "not cut off" if closed_after is None else f"cut off after {closed_after:.0f} s"
    return Result.judge(
        f"{number} stalled: {growth / 1024:.0f} KiB each, {closed}; others' p99 gap {ratio:.2f}x, median "
        f"{median(gaps) / median(gaps_alone):.2f}x",
        problems,
    )


CHECKS = (
    Check(
        "F1",
        "Faults",
        "Clients that leave",
        "200 requests for the whole context, streamed, whole, and of four choices, left after 0.5 s: the next answer "
        "within 2 s, nothing running and all blocks free within 1 s, no processor time used after",
        _check_leaving,
        is_quick=True,
        uses_model=True,
    ),
    Check(
        "F2",
        "Faults",
        "Leaving the queue",
        "clients leave the queue while another is answered, 100 times: that one is always exact",
        _check_leaving_queue,
        is_quick=True,
    ),
    Check(
        "F3",
        "Faults",
        "Stalled readers",
        "20 readers stop reading streams of 10,000 tokens: at most 256 KiB each, others' p99 gap between tokens at "
        "most 1.5 times, cut off within 60 s",
        _check_stalled_readers,
        limit=150,
    ),
)
