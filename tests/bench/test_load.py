"""The load generator against a server that really runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from portico.bench.config import BenchConfig
from portico.bench.load import LoadGenerator, Outcome
from portico.bench.runner import find_target
from portico.bench.server_process import free_port
from portico.bench.summary import summarise
from portico.bench.wires import WIRES, Target
from portico.bench.workload import BenchRequest, Workload, arrival_times, make_requests
from tests.bench.conftest import POISON
from tests.end_to_end.server import RunningServer

MakeWorkload = Callable[..., Workload]


async def drive(address: str, dialect: str, requests: list[BenchRequest], concurrency: int = 4) -> list[Outcome]:
    target = await find_target(BenchConfig(), address)
    generator = LoadGenerator(target, WIRES[dialect], timeout=30)
    try:
        return await generator.closed_loop(requests, concurrency, lambda: None)
    finally:
        generator.close()


@pytest.mark.parametrize("dialect", WIRES)
async def test_counts_are_exact_in_every_dialect(server: RunningServer, workload: MakeWorkload, dialect: str) -> None:
    requests = make_requests(workload(), 12, "counts")
    summary = summarise(await drive(server.address, dialect, requests))
    assert summary.errors == {}
    assert (summary.num_requests, summary.num_failed, summary.num_short) == (12, 0, 0)
    assert summary.num_output_tokens == sum(request.output_len for request in requests)
    assert summary.num_input_tokens == sum(len(request.prompt_ids) for request in requests)


@pytest.mark.parametrize("dialect", [name for name, wire in WIRES.items() if wire.has_choices])
async def test_all_choices_count(server: RunningServer, workload: MakeWorkload, dialect: str) -> None:
    requests = make_requests(workload(num_choices=3), 4, "choices")
    summary = summarise(await drive(server.address, dialect, requests))
    assert summary.num_output_tokens == 3 * sum(request.output_len for request in requests)
    assert (summary.num_failed, summary.num_short) == (0, 0)


async def test_times_are_in_order(server: RunningServer, workload: MakeWorkload) -> None:
    for outcome in await drive(server.address, "openai", make_requests(workload(), 8, "times")):
        assert outcome.first_text is not None
        assert 0 < outcome.first_text <= outcome.last_text <= outcome.total
        assert all(gap >= 0 for gap in outcome.gaps)


@pytest.mark.parametrize("dialect", WIRES)
async def test_failures_are_counted_and_explained(server: RunningServer, workload: MakeWorkload, dialect: str) -> None:
    requests = make_requests(workload(), 6, "failures")
    for index in (1, 4):
        requests[index] = replace(requests[index], prompt_ids=(*requests[index].prompt_ids, POISON))
    summary = summarise(await drive(server.address, dialect, requests))
    assert (summary.num_requests, summary.num_failed) == (6, 2)
    assert sum(summary.errors.values()) == 2
    assert all(summary.errors)
    good = [request for index, request in enumerate(requests) if index not in (1, 4)]
    assert summary.num_output_tokens == sum(request.output_len for request in good)


async def test_a_refused_request_fails_with_its_status(server: RunningServer, workload: MakeWorkload) -> None:
    generator = LoadGenerator(Target(server.address, "no-such-model"), WIRES["openai"], timeout=30)
    outcome = await generator.send(make_requests(workload(), 1, "refused")[0], 0.0)
    generator.close()
    assert outcome.error is not None
    assert outcome.error.startswith("status 404")


async def test_nobody_there(workload: MakeWorkload) -> None:
    generator = LoadGenerator(Target(f"http://127.0.0.1:{free_port()}"), WIRES["openai"], timeout=30)
    outcome = await generator.send(make_requests(workload(), 1, "nobody")[0], 0.0)
    assert outcome.error is not None
    assert outcome.error.startswith("no connection")


@pytest.mark.parametrize("head", ["HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\nConten"])
async def test_an_answer_may_end_with_its_connection(workload: MakeWorkload, head: str) -> None:
    """But not within its head."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode())
        if head.endswith("\r\n\r\n"):
            writer.write(b'data: {"choices":[{"text":"a"}]}\n\ndata: {"usage":{"completion_tokens":2}}')
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        generator = LoadGenerator(Target(f"http://127.0.0.1:{port}"), WIRES["openai"], timeout=30)
        outcome = await generator.send(make_requests(workload(), 1, "close")[0], 0.0)
    if head.endswith("\r\n\r\n"):
        assert (outcome.error, outcome.num_output_tokens) == (None, 2)
    else:
        assert outcome.error is not None
        assert "connection was lost" in outcome.error


async def test_an_open_loop_sends_everything(server: RunningServer, workload: MakeWorkload) -> None:
    requests = make_requests(workload(), 20, "open")
    times = arrival_times(len(requests), 200, seed=3)
    ticks = []
    generator = LoadGenerator(await find_target(BenchConfig(), server.address), WIRES["openai"], timeout=30)
    outcomes = await generator.open_loop(requests, times, lambda: ticks.append(1))
    generator.close()
    assert len(ticks) == len(outcomes) == 20
    # Requests start when they are due, however late they were sent.
    starts = sorted(outcome.started_at for outcome in outcomes)
    offsets = [start - starts[0] for start in starts]
    assert offsets == pytest.approx([time - times[0] for time in times], abs=1e-6)
