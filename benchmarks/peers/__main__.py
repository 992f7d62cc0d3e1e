"""Measures this server and its peers side by side: `python -m benchmarks.peers --peers llamacpp vllm --loads 1-stream`.

In each round every peer is started and measured, and this server right after it, so that a machine that drifts
drifts for both. Figures are medians over the rounds; ratios are medians of the ratios of neighbours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.peers.environments import find_or_make
from benchmarks.peers.loads import LOADS, Load
from benchmarks.peers.peers import PEERS, Peer, Start
from portico.bench.plot import render_plot
from portico.bench.random_checkpoint import find_or_make_checkpoint
from portico.bench.report import describe_run, point_to_json, render_table
from portico.bench.runner import LoadPoint, find_target, make_workload, run_load_point
from portico.bench.server_process import ServerProcess, ServerStartFailed, free_port, run_portico, run_server
from portico.bench.shapes import SHAPES
from portico.bench.vocabulary import word_ids

OURS = "portico"
# The loads that differ in nothing but the number of streams.
PLOTTED = ("1-stream", "8-streams", "32-streams")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One load on one server in one round; `opponent` is the peer whose turn it was."""

    round: int
    opponent: str
    server: str
    load: str
    value: float
    point: LoadPoint


def main() -> int:
    """Runs the command; the exit code is 1 if a server did not start or a request failed."""
    given = sys.argv[1:]
    at = given.index("--") if "--" in given else len(given)
    parsed = _parser().parse_args(given[:at])
    comparison = Comparison(parsed, given[at + 1 :])
    try:
        return uvloop.run(comparison.run())
    except subprocess.CalledProcessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description="Measures this server and its peers side by side. Flags after -- are for portico serve.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="who is compared")
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS), help="under which loads")
    parser.add_argument("--model-shape", choices=SHAPES, default="qwen2.5-0.5b", help="shape of the random model")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each peer")
    parser.add_argument("--seed", type=int, default=0, help="of weights, prompts and lengths")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of each server")
    parser.add_argument("--cache-dir", type=Path, default=Path.home() / ".cache" / "portico", help="kept files")
    parser.add_argument("--json", type=Path, default=None, help="file that all figures are written to")
    parser.add_argument("--plot", type=Path, default=None, help="SVG file: latency against throughput")
    parser.add_argument("--prepare-only", action="store_true", help="make environments and models, measure nothing")
    return parser


class Comparison:
    """One run of the command."""

    def __init__(self, parsed: argparse.Namespace, server_flags: Sequence[str]) -> None:
        self._parsed = parsed
        self._flags = server_flags
        self._shape = SHAPES[parsed.model_shape]
        self._loads = [LOADS[name] for name in parsed.loads]
        self._peers = [PEERS[name] for name in parsed.peers]
        self._logs: Path = parsed.cache_dir / "logs"
        self._measurements: list[Measurement] = []
        self._has_failed = False

    async def run(self) -> int:
        """Prepares everything, then measures in rounds and prints the tables."""
        cache = self._parsed.cache_dir
        self._logs.mkdir(parents=True, exist_ok=True)
        checkpoint = find_or_make_checkpoint(self._shape, "bfloat16", self._parsed.seed, cache / "bench", sys.stderr)
        starts = {}
        for peer in self._peers:
            python = find_or_make(peer.environment, cache / "peers")
            model = peer.model_files(python, checkpoint, cache)
            starts[peer.name] = Start(python, model, free_port(), self._parsed.threads)
        if self._parsed.prepare_only:
            return 0
        for round_number in range(self._parsed.rounds):
            for peer in self._peers:
                await self._measure(round_number, peer.name, peer, starts[peer.name])
                await self._measure(round_number, peer.name, None, replace(starts[peer.name], model=checkpoint))
        self._report()
        return int(self._has_failed)

    async def _measure(self, round_number: int, opponent: str, peer: Peer | None, start: Start) -> None:
        """All loads on one server that is started for them; None is this one."""
        name = peer.name if peer else OURS
        try:
            async with self._serve(peer, start) as server:
                for load in self._loads:
                    point = await self._measure_load(round_number, load, peer, start, server)
                    self._measurements.append(
                        Measurement(round_number, opponent, name, load.name, load.figure.of(point), point)
                    )
        except ServerStartFailed as error:
            self._has_failed = True
            print(f"{name}: {error}", file=sys.stderr)

    def _serve(self, peer: Peer | None, start: Start) -> AbstractAsyncContextManager[ServerProcess]:
        log = self._logs / f"{peer.name if peer else OURS}.log"
        if peer is None:
            threads = ["--num-threads", str(start.num_threads)]
            return run_portico(start.model, [*threads, *self._flags], log)
        environment = {**os.environ, **peer.variables(start.num_threads)}
        address = f"http://127.0.0.1:{start.port}"
        return run_server(peer.command(start), address, log, peer.ready_path, environment=environment)

    async def _measure_load(
        self, round_number: int, load: Load, peer: Peer | None, start: Start, server: ServerProcess
    ) -> LoadPoint:
        config = load.config(peer.dialect if peer else "openai", self._parsed.seed)
        if peer is not None and peer.is_named_by_path:
            config = replace(config, model=str(start.model))
        target = await find_target(config, server.base_url)
        if peer is not None:
            target = replace(target, extra=peer.extra(load))
        point = await run_load_point(
            target,
            config,
            make_workload(config, word_ids(self._shape.vocab_size)),
            load.streams,
            stream=sys.stderr,
            server=server,
            label=f"round {round_number + 1}, {peer.name if peer else OURS}, {load.name}: ",
            part=f"{round_number}/{load.name}/",
        )
        for error, count in point.summary.errors.items():
            self._has_failed = True
            print(f"{peer.name if peer else OURS}, {load.name}: {count} failed: {error}", file=sys.stderr)
        if point.summary.num_short:
            print(
                f"{peer.name if peer else OURS}, {load.name}: {point.summary.num_short} answers had another length",
                file=sys.stderr,
            )
        return point

    def _report(self) -> None:
        for load in self._loads:
            print(f"\n{load.name}: {load.figure.name}")
            print(
                render_table(
                    ["server", "weights", "median", "peak MiB", "portico beside it", "ratio"], self._rows(load)
                )
            )
        if self._parsed.plot is not None:
            title = f"{self._parsed.model_shape}, 16 tokens in, 32 out"
            self._parsed.plot.write_text(render_plot(title, self._series()))
        if self._parsed.json is not None:
            settings = {name: value for name, value in vars(self._parsed).items() if not isinstance(value, Path)}
            settings["server_flags"] = list(self._flags)
            measured = [_to_json(each) for each in self._measurements]
            report = {**describe_run(settings), "measurements": measured}
            self._parsed.json.write_text(json.dumps(report, indent=2) + "\n")

    def _series(self) -> dict[str, list[LoadPoint]]:
        """Of each server, its middle round under each load that is about throughput."""
        series: dict[str, list[LoadPoint]] = defaultdict(list)
        for load in self._loads:
            found: dict[str, list[Measurement]] = defaultdict(list)
            for each in self._measurements:
                if each.load == load.name and load.name in PLOTTED:
                    found[each.server].append(each)
            for server, measured in found.items():
                ordered = sorted(measured, key=lambda each: each.value)
                series[server].append(ordered[len(ordered) // 2].point)
        return series

    def _rows(self, load: Load) -> list[list[str]]:
        values: dict[tuple[str, bool], dict[int, Measurement]] = defaultdict(dict)
        for each in self._measurements:
            # A server that refused a part of the load has measured another one.
            if each.load == load.name and not each.point.summary.num_failed:
                values[each.opponent, each.server == OURS][each.round] = each
        rows = []
        for peer in self._peers:
            theirs, ours = values[peer.name, False], values[peer.name, True]
            both = sorted(theirs.keys() & ours.keys())
            ratios = [load.figure.ratio(ours[key].value, theirs[key].value) for key in both if theirs[key].value]
            rows.append(
                [
                    peer.name,
                    peer.weights,
                    _median([each.value for each in theirs.values()], ",.3g"),
                    _median([(each.point.peak_memory or 0) / 2**20 for each in theirs.values()], ",.0f"),
                    _median([each.value for each in ours.values()], ",.3g"),
                    _median(ratios, ".2f"),
                ]
            )
        return rows


def _median(values: Sequence[float], form: str) -> str:
    return format(statistics.median(values), form) if values else "-"


def _to_json(measurement: Measurement) -> dict[str, Any]:
    return {
        "round": measurement.round,
        "opponent": measurement.opponent,
        "server": measurement.server,
        "name": measurement.load,
        "value": measurement.value,
        **point_to_json(measurement.point),
    }


if __name__ == "__main__":
    sys.exit(main())
