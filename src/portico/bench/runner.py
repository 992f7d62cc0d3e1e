"""Takes a server through the load points of a configuration."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TextIO

from tqdm import tqdm

from portico.bench.client import Client, ClientError
from portico.bench.config import BenchConfig
from portico.bench.limits import ModelLimits
from portico.bench.load import LoadGenerator, Outcome, Tick
from portico.bench.memory import MemoryUse, read_memory_use
from portico.bench.server_process import ServerProcess
from portico.bench.summary import LoadSummary, summarise
from portico.bench.wires import WIRES, Target
from portico.bench.workload import BenchRequest, Workload, arrival_times, make_requests


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """One load and what was measured under it.

    Attributes:
        level: streams at once, or arrivals per second.
        generator_cpu_seconds: processor time of the load generator itself.
        cpu_seconds: processor time of the server; None where its process is not known.
        peak_memory: bytes, since the server started, of all its processes.
        memory: what the server reports of its memory; None where it does not.
        limit: output tokens per second that the machine allows; None where that is not known.
    """

    load: str
    level: float
    summary: LoadSummary
    generator_cpu_seconds: float = 0.0
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    memory: MemoryUse | None = None
    limit: float | None = None

    @property
    def share_of_limit(self) -> float | None:
        """Reached throughput, as a part of what the machine allows."""
        return None if not self.limit else self.summary.output_throughput / self.limit

    @property
    def memory_share(self) -> float | None:
        """The peak, as a part of weights and KV cache together; None also of a server whose engine is gone."""
        if self.memory is None or self.peak_memory is None or self.peak_memory < self.memory.weights:
            return None
        return self.memory.share(self.peak_memory)

    @property
    def memory_share_without_base(self) -> float | None:
        """The same of what was taken besides interpreter and libraries."""
        share = self.memory_share
        if share is None or self.memory is None:
            return None
        return share - self.memory.share(self.memory.base)


def make_workload(config: BenchConfig, token_ids: range) -> Workload:
    """What is asked, of a model with these ids for prompts."""
    input_len, output_len = config.lengths()
    return Workload(input_len, output_len, config.shared_prefix_len, config.n, config.seed, token_ids)


async def find_target(config: BenchConfig, base_url: str) -> Target:
    """The server as the target of requests; asks it for the name of its model where none is given."""
    return Target(base_url, config.model or await _served_name(base_url, config.api_key), config.api_key)


async def _served_name(base_url: str, api_key: str | None) -> str:
    client = Client(base_url, api_key)
    try:
        return str(json.loads(await client.get("/v1/models"))["data"][0]["id"])
    except (ClientError, ValueError, LookupError, TypeError):
        return ""
    finally:
        client.close()


async def served_dtype(base_url: str) -> str | None:
    """How the server holds its weights, where its `/info` says so and they are on a CPU."""
    client = Client(base_url)
    try:
        info = json.loads(await client.get("/info"))
        return str(info["model_dtype"]) if info["model_device_type"] == "cpu" else None
    except (ClientError, ValueError, LookupError, TypeError):
        return None
    finally:
        client.close()


async def run_load_point(
    target: Target,
    config: BenchConfig,
    workload: Workload,
    level: float,
    *,
    stream: TextIO | None,
    server: ServerProcess | None = None,
    limits: ModelLimits | None = None,
    label: str = "",
    part: str = "",
) -> LoadPoint:
    """Warms up, then measures one load point; `part` tells repetitions of a level apart."""
    requests = make_requests(workload, config.num_requests_at(level), f"{part}{config.load}/{level}")
    warmup = make_requests(replace(workload, shared_prefix_len=0), config.warmup, f"{part}warmup/{level}")
    generator = LoadGenerator(target, WIRES[config.dialect], config.timeout)
    try:
        if warmup:
            await generator.closed_loop(warmup, max(1, min(int(level), len(warmup))), lambda: None)
        used_before, used_here_before = server.cpu_seconds() if server else 0.0, time.process_time()
        with _progress(f"{label}{_describe(config.load, level)}", len(requests), stream) as tick:
            outcomes = await _drive(generator, config, requests, level, tick)
        used_here, used = time.process_time(), server.cpu_seconds() if server else 0.0
        memory = await read_memory_use(target.base_url, target.api_key)
        reported_peak = memory.peak if memory else None
        return LoadPoint(
            config.load,
            level,
            summarise(outcomes),
            generator_cpu_seconds=used_here - used_here_before,
            cpu_seconds=used - used_before if server else None,
            peak_memory=server.peak_memory() if server else reported_peak,
            memory=memory,
            limit=_limit(config, requests, level, limits),
        )
    finally:
        generator.close()


async def _drive(
    generator: LoadGenerator, config: BenchConfig, requests: Sequence[BenchRequest], level: float, tick: Tick
) -> list[Outcome]:
    if config.load == "closed":
        return await generator.closed_loop(requests, int(level), tick)
    return await generator.open_loop(requests, arrival_times(len(requests), level, config.seed), tick)


def _limit(
    config: BenchConfig, requests: Sequence[BenchRequest], level: float, limits: ModelLimits | None
) -> float | None:
    # In an open loop the arrivals bound the throughput, not the machine.
    if limits is None or config.load != "closed":
        return None
    least = limits.seconds(requests, int(level), config.shared_prefix_len)
    return sum(request.num_output_tokens for request in requests) / least


def _describe(load: str, level: float) -> str:
    return f"{level:g} streams" if load == "closed" else f"{level:g} requests/s"


@contextmanager
def _progress(description: str, total: int, stream: TextIO | None) -> Iterator[Tick]:
    with tqdm(total=total, desc=description, unit="req", file=stream, disable=stream is None, leave=False) as bar:

        def tick() -> None:
            bar.update(1)

        yield tick
