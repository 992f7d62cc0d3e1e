"""Drives a server with closed- or open-loop load and keeps what was seen of every request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from portico.bench.client import Client, ClientError
from portico.bench.wires import StreamReader, Target, Wire
from portico.bench.workload import BenchRequest


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request; times are in seconds, after `started_at`.

    Attributes:
        started_at: when it was sent; in an open loop when it was due, so that a late generator hides no waiting.
        first_text: until the first text of any choice.
        last_text: until the last text.
        total: until the end of the answer.
        gaps: between successive arrivals of text of one choice.
        error: why it failed, or None.
    """

    request: BenchRequest
    started_at: float
    total: float
    first_text: float | None = None
    last_text: float = 0.0
    num_output_tokens: int = 0
    gaps: Sequence[float] = field(default=())
    error: str | None = None

    @property
    def is_short(self) -> bool:
        """Whether there were fewer tokens than asked for, though it did not fail."""
        return self.error is None and self.num_output_tokens != self.request.num_output_tokens


Tick = Callable[[], None]


class LoadGenerator:
    """Sends requests to one target in one dialect."""

    def __init__(self, target: Target, wire: Wire, timeout: float) -> None:
        self._target = target
        self._wire = wire
        self._timeout = timeout
        self._client = Client(target.base_url, target.api_key)

    async def closed_loop(self, requests: Sequence[BenchRequest], concurrency: int, tick: Tick) -> list[Outcome]:
        """Keeps `concurrency` requests going until all are done; `tick` is called after each."""
        outcomes: list[Outcome] = []
        waiting = iter(requests)

        async def work(shared: Iterator[BenchRequest]) -> None:
            for request in shared:
                outcomes.append(await self.send(request, time.perf_counter()))
                tick()

        async with asyncio.TaskGroup() as workers:
            for _ in range(min(concurrency, len(requests))):
                workers.create_task(work(waiting))
        return outcomes

    async def open_loop(self, requests: Sequence[BenchRequest], times: Sequence[float], tick: Tick) -> list[Outcome]:
        """Sends each request at its time, whether or not those before it are done."""
        outcomes: list[Outcome] = []
        start = time.perf_counter()

        async def send_at(request: BenchRequest, due: float) -> None:
            outcomes.append(await self.send(request, due))
            tick()

        async with asyncio.TaskGroup() as sent:
            for request, offset in zip(requests, times, strict=True):
                due = start + offset
                await asyncio.sleep(max(due - time.perf_counter(), 0))
                sent.create_task(send_at(request, due))
        return outcomes

    async def send(self, request: BenchRequest, started_at: float) -> Outcome:
        """Sends one request and follows its stream; a failure is part of the outcome."""
        reader = StreamReader(self._wire, request)
        path, body = self._wire.encode(request, self._target)
        error: str | None = None
        try:
            async with asyncio.timeout(self._timeout):
                await self._client.post(path, body, reader)
        except ClientError as failure:
            error = str(failure)
        except TimeoutError:
            error = f"no end after {self._timeout:g} s"
        error = reader.error or error
        if error is None and not reader.num_output_tokens:
            error = "the answer has no tokens"
        first = reader.first_text_at
        return Outcome(
            request,
            started_at,
            total=time.perf_counter() - started_at,
            first_text=None if first is None else first - started_at,
            last_text=max(reader.last_text_at - started_at, 0.0),
            num_output_tokens=reader.num_output_tokens,
            gaps=reader.gaps,
            error=error,
        )

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()
