"""What the front end costs: HTTP, JSON, scheduling of streams and detokenising, with an engine that costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from portico.bench.config import BenchConfig
from portico.bench.report import render_table
from portico.bench.runner import LoadPoint, find_target, make_workload, run_load_point
from portico.bench.server_process import run_portico
from portico.bench.shapes import ModelShape
from portico.bench.vocabulary import word_ids

STREAMS = (1, 64, 512)
_NUM_TOKENS = 20_000
_OUTPUT_LEN = 128

YARDSTICK = (
    "Yardstick: 112,000 tokens/s (219 requests/s of 512 tokens), which one Python front end streamed from a mock\n"
    "engine in NVIDIA Dynamo's measurement (ai-dynamo/dynamo, pull request 9206), saturated: the mean time to first\n"
    "token was 8.7 s. It was measured on another machine, so compare the order of magnitude."
)


@dataclass(frozen=True, slots=True)
class FrontendPoint:
    """The cost at one number of streams: of a token from long answers, of a request from answers of one token."""

    num_streams: int
    long: LoadPoint
    short: LoadPoint

    @property
    def seconds_per_token(self) -> float:
        """Processor time of the server for each streamed token, the requests' own cost included."""
        return (self.long.cpu_seconds or 0.0) / max(self.long.summary.num_output_tokens, 1)

    @property
    def seconds_per_request(self) -> float:
        """Processor time of the server for a request with an answer of one token."""
        return (self.short.cpu_seconds or 0.0) / max(self.short.summary.num_requests, 1)


async def run_frontend(
    config: BenchConfig, shape: ModelShape, checkpoint: Path, flags: Sequence[str], log: Path, stream: TextIO | None
) -> list[FrontendPoint]:
    """Serves the scripted engine and measures at each number of streams."""
    most = str(max(STREAMS))
    scripted = ["--engine", "scripted", "--vocab-size", str(shape.vocab_size)]
    scripted += ["--max-num-seqs", most, "--max-waiting", most, "--log-level", "warning"]
    points = []
    async with run_portico(checkpoint, [*scripted, *flags], log) as server:
        target = await find_target(config, server.base_url)
        for num_streams in STREAMS:
            measured = []
            for output_len in (_OUTPUT_LEN, 1):
                settings = _settings(config, num_streams, output_len)
                workload = make_workload(settings, word_ids(shape.vocab_size))
                measured.append(
                    await run_load_point(
                        target,
                        settings,
                        workload,
                        num_streams,
                        stream=stream,
                        server=server,
                        label=f"{output_len} tokens, ",
                    )
                )
            points.append(FrontendPoint(num_streams, *measured))
    return points


def _settings(config: BenchConfig, num_streams: int, output_len: int) -> BenchConfig:
    num_requests = max(num_streams, _NUM_TOKENS // _OUTPUT_LEN)
    return replace(
        config,
        load="closed",
        input_len="32",
        output_len=str(output_len),
        shared_prefix_len=0,
        n=1,
        num_requests=2 * num_requests,
    )


def render_frontend(points: Sequence[FrontendPoint]) -> str:
    """The table, and the yardstick with what it is."""
    headings = ["streams", "failed", "CPU us/token", "tokens/s per core", "tokens/s", "TTFT ms p50", "p99"]
    headings += ["CPU us/request", "req/s", "client us/token"]
    rows = []
    for point in points:
        summary = point.long.summary
        cost = point.seconds_per_token
        rows.append(
            [
                str(point.num_streams),
                str(summary.num_failed + point.short.summary.num_failed),
                f"{cost * 1e6:.1f}",
                f"{1 / cost:,.0f}" if cost else "-",
                f"{summary.output_throughput:,.0f}",
                f"{summary.first_token.median * 1000:.1f}",
                f"{summary.first_token.p99 * 1000:.1f}",
                f"{point.seconds_per_request * 1e6:,.0f}",
                f"{point.short.summary.request_throughput:,.0f}",
                f"{point.long.generator_cpu_seconds / max(summary.num_output_tokens, 1) * 1e6:.1f}",
            ]
        )
    return f"{render_table(headings, rows)}\n{YARDSTICK}"


def frontend_to_json(point: FrontendPoint) -> dict[str, Any]:
    """The figures of one number of streams, in seconds."""
    return {
        "num_streams": point.num_streams,
        "cpu_seconds_per_token": point.seconds_per_token,
        "cpu_seconds_per_request": point.seconds_per_request,
        "output_throughput": point.long.summary.output_throughput,
        "request_throughput": point.short.summary.request_throughput,
        "num_failed": point.long.summary.num_failed + point.short.summary.num_failed,
    }
