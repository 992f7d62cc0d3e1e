"""What the front end costs: HTTP, JSON, scheduling of streams and detokenising, with an engine that costs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, TextIO

from portico.bench.client import Client
from portico.bench.config import BenchConfig
from portico.bench.profile import Profile, profiled, read_profile, restart
from portico.bench.report import render_table
from portico.bench.runner import LoadPoint, find_target, make_workload, run_load_point
from portico.bench.server_process import PORTICO, ServerProcess, run_portico
from portico.bench.shapes import ModelShape
from portico.bench.vocabulary import word_ids
from portico.bench.wires import Target

STREAMS = (1, 64, 512)
_NUM_TOKENS = 40_000
_NUM_SHORT = 300
# As long as the answers of the yardstick's measurement.
_OUTPUT_LEN = 512
# Seconds of a step: far more tokens than any front end can write, when hundreds of streams run.
_STEP = 0.001

YARDSTICK_RATE = 112_000
YARDSTICK = (
    "Yardstick: 112,000 tokens/s (219 requests/s of 512 tokens), which one Python front end streamed from a mock\n"
    "engine in NVIDIA Dynamo's measurement (ai-dynamo/dynamo, pull request 9206), saturated: the mean time to first\n"
    "token was 8.7 s. It was measured on another machine with a faster processor, and under the load of the last row:\n"
    "a saturated front end writes what has come meanwhile at once, each token still a frame of its own here."
)


@dataclass(frozen=True, slots=True)
class FrontendPoint:
    """The cost at one number of streams: of a token from long answers, of a request from answers of one token.

    Attributes:
        num_streams: streams at once.
        is_behind: the engine makes tokens faster than they can be written, so that several wait for each write; else
            it makes the next one when the last is written.
        tokens_per_write: of the long answers.
        long: each time that long answers were measured.
        short: each time that short ones were; nothing where only the long ones count.
    """

    num_streams: int
    is_behind: bool
    tokens_per_write: float
    long: tuple[LoadPoint, ...]
    short: tuple[LoadPoint, ...] = ()

    @property
    def seconds_per_token(self) -> float:
        """Processor time of the server for each streamed token, the requests' own cost included; the median."""
        return median((each.cpu_seconds or 0.0) / max(each.summary.num_output_tokens, 1) for each in self.long)

    @property
    def seconds_per_request(self) -> float | None:
        """Processor time of the server for a request with an answer of one token; the median."""
        costs = [(each.cpu_seconds or 0.0) / max(each.summary.num_requests, 1) for each in self.short]
        return median(costs) if costs else None

    @property
    def num_failed(self) -> int:
        """Requests that failed, of all."""
        return sum(each.summary.num_failed for each in (*self.long, *self.short))


class _Run:
    """One run of the benchmark."""

    def __init__(self, config: BenchConfig, shape: ModelShape, checkpoint: Path, flags: Sequence[str], log: Path):
        self._config = config
        self._shape = shape
        self._checkpoint = checkpoint
        self._flags = flags
        self._log = log

    def serve(self, *flags: str, launcher: Sequence[str] = PORTICO) -> Any:
        """The server with the scripted engine, while a block runs."""
        most = str(max(STREAMS))
        scripted = ["--engine", "scripted", "--vocab-size", str(self._shape.vocab_size), "--log-level", "warning"]
        scripted += ["--max-num-seqs", most, "--max-waiting", most]
        return run_portico(self._checkpoint, [*scripted, *flags, *self._flags], self._log, launcher)

    async def measure(
        self, server: ServerProcess, target: Target, num_streams: int, output_len: int, stream: TextIO | None
    ) -> LoadPoint:
        """One load."""
        num_requests = max(num_streams, _NUM_SHORT if output_len == 1 else _NUM_TOKENS // output_len)
        settings = replace(
            self._config,
            load="closed",
            input_len="32",
            output_len=str(output_len),
            shared_prefix_len=0,
            n=1,
            num_requests=num_requests,
        )
        workload = make_workload(settings, word_ids(self._shape.vocab_size))
        label = f"{output_len} tokens, "
        return await run_load_point(target, settings, workload, num_streams, stream=stream, server=server, label=label)


async def run_frontend(
    config: BenchConfig, shape: ModelShape, checkpoint: Path, flags: Sequence[str], log: Path, stream: TextIO | None
) -> list[FrontendPoint]:
    """Serves the scripted engine and measures at each number of streams, and once with an engine that runs ahead."""
    run = _Run(config, shape, checkpoint, flags, log)
    points = []
    async with run.serve() as server:
        target = await find_target(config, server.base_url)
        for num_streams in STREAMS:
            before = await _count(server)
            long = [await run.measure(server, target, num_streams, _OUTPUT_LEN, stream) for _ in range(config.rounds)]
            tokens_per_write = _per_write(before, await _count(server))
            short = [await run.measure(server, target, num_streams, 1, stream) for _ in range(config.rounds)]
            points.append(FrontendPoint(num_streams, False, tokens_per_write, tuple(long), tuple(short)))
    async with run.serve("--token-delay", str(_STEP)) as server:
        target = await find_target(config, server.base_url)
        most = max(STREAMS)
        before = await _count(server)
        long = [await run.measure(server, target, most, _OUTPUT_LEN, stream) for _ in range(config.rounds)]
        points.append(FrontendPoint(most, True, _per_write(before, await _count(server)), tuple(long)))
    return points


async def profile_frontend(
    config: BenchConfig, shape: ModelShape, checkpoint: Path, flags: Sequence[str], log: Path, stream: TextIO | None
) -> Profile:
    """Where the server's time goes with 64 streams, a token per write."""
    run = _Run(config, shape, checkpoint, flags, log)
    samples = log.with_suffix(".samples")
    async with run.serve(launcher=profiled(samples)) as server:
        target = await find_target(config, server.base_url)
        restart(server.pid)
        for _ in range(config.rounds):
            await run.measure(server, target, sorted(STREAMS)[len(STREAMS) // 2], _OUTPUT_LEN, stream)
    return read_profile(samples)


async def _count(server: ServerProcess) -> tuple[float, float]:
    """Output tokens so far, and the steps that brought them but for the first of each request."""
    client = Client(server.base_url)
    try:
        page = (await client.get("/metrics")).decode()
    finally:
        client.close()
    tokens, gaps, requests = (
        sum(_samples(page, name))
        for name in (
            "portico_generation_tokens_total",
            "portico_inter_token_latency_seconds_count",
            "portico_time_to_first_token_seconds_count",
        )
    )
    return tokens, gaps + requests


def _samples(page: str, name: str) -> Iterator[float]:
    for line in page.splitlines():
        if line.startswith(name):
            yield float(line.rpartition(" ")[2])


def _per_write(before: tuple[float, float], after: tuple[float, float]) -> float:
    return (after[0] - before[0]) / max(after[1] - before[1], 1.0)


def render_frontend(points: Sequence[FrontendPoint]) -> str:
    """The table, and the yardstick with what it is."""
    headings = ["streams", "failed", "tokens/write", "CPU us/token", "tokens/s per core", "of yardstick"]
    headings += ["tokens/s", "TTFT ms p50", "p99", "CPU us/request", "req/s", "client us/token"]
    rows = []
    for point in points:
        cost, request_cost = point.seconds_per_token, point.seconds_per_request
        summaries = [each.summary for each in point.long]
        client = [each.generator_cpu_seconds / max(each.summary.num_output_tokens, 1) for each in point.long]
        requests = [each.summary.request_throughput for each in point.short]
        rows.append(
            [
                f"{point.num_streams}, engine ahead" if point.is_behind else str(point.num_streams),
                str(point.num_failed),
                f"{point.tokens_per_write:.1f}",
                f"{cost * 1e6:.1f}",
                f"{1 / cost:,.0f}" if cost else "-",
                f"{1 / cost / YARDSTICK_RATE:.0%}" if cost else "-",
                f"{median(each.output_throughput for each in summaries):,.0f}",
                f"{median(each.first_token.median for each in summaries) * 1000:.1f}",
                f"{median(each.first_token.p99 for each in summaries) * 1000:.1f}",
                "-" if request_cost is None else f"{request_cost * 1e6:,.0f}",
                f"{median(requests):,.0f}" if requests else "-",
                f"{median(client) * 1e6:.1f}",
            ]
        )
    return f"{render_table(headings, rows)}\n{YARDSTICK}"


def frontend_to_json(point: FrontendPoint) -> dict[str, Any]:
    """The figures of one number of streams, in seconds."""
    return {
        "num_streams": point.num_streams,
        "is_behind": point.is_behind,
        "tokens_per_write": point.tokens_per_write,
        "cpu_seconds_per_token": point.seconds_per_token,
        "cpu_seconds_per_request": point.seconds_per_request,
        "output_throughput": median(each.summary.output_throughput for each in point.long),
        "num_failed": point.num_failed,
    }
