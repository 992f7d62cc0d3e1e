"""`portico bench`: puts the parts together for what was asked."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from portico.bench.config import BenchConfig
from portico.bench.frontend import frontend_to_json, profile_frontend, render_frontend, run_frontend
from portico.bench.limits import MachineLimits, ModelLimits, has_limits, measure_limits
from portico.bench.plot import render_plot
from portico.bench.random_checkpoint import find_or_make_checkpoint
from portico.bench.report import describe_run, point_to_json, render_points
from portico.bench.runner import LoadPoint, find_target, make_workload, run_load_point, served_dtype
from portico.bench.server_process import ServerProcess, run_portico
from portico.bench.shapes import SHAPES
from portico.bench.vocabulary import FIRST_WORD, word_ids


async def run_bench(
    task: str, config: BenchConfig, server_flags: Sequence[str], output: TextIO, progress: TextIO
) -> int:
    """Runs one task; results go to `output`, bars and remarks to `progress`. The exit code is 1 if requests failed.

    Raises:
        ServerStartFailed, ProbeFailed, ValueError, OSError: what the operator must mend.
    """
    bench = _Bench(config, server_flags, output, progress)
    match task:
        case "limits":
            output.write(bench.measure().describe() + "\n")
            return 0
        case "frontend":
            return await bench.frontend()
        case _:
            return await bench.load()


class _Bench:
    """One run of the command."""

    def __init__(self, config: BenchConfig, server_flags: Sequence[str], output: TextIO, progress: TextIO) -> None:
        self._config = config
        self._flags = server_flags
        self._output = output
        self._progress = progress
        self._shape = SHAPES[config.model_shape]

    def measure(self) -> MachineLimits:
        """The ceilings of the machine."""
        self._progress.write("measuring what the machine allows\n")
        return measure_limits(self._config.num_threads or len(os.sched_getaffinity(0)))

    async def load(self) -> int:
        """Measures all load points of the configuration."""
        config = self._config
        if config.base_url is not None:
            if self._flags:
                raise ValueError("Flags after -- are for a server that is started; with --base-url none is.")
            points = await self._points(config.base_url, None, None, range(FIRST_WORD, config.vocab_size))
            title = f"{config.base_url}, {config.dialect}"
        else:
            machine = await asyncio.to_thread(self.measure) if config.limits else None
            points = await self._own_points(machine)
            title = " ".join([f"Portico, {config.model_shape}", *self._flags])
        self._write(render_points(points), {"points": [point_to_json(point) for point in points]})
        if config.plot is not None:
            Path(config.plot).write_text(render_plot(title, {title: points}), encoding="utf-8")
        return int(any(point.summary.num_failed for point in points))

    async def frontend(self) -> int:
        """Measures the cost of the front end."""
        if self._config.base_url is not None:
            raise ValueError("The cost of the front end is measured on a server that is started; leave out --base-url.")
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "server.log"
            given = (self._config, self._shape, self._checkpoint(), self._flags, log, self._progress)
            points = await run_frontend(*given)
            profile = await profile_frontend(*given) if self._config.profile else None
        self._write(render_frontend(points), {"frontend": [frontend_to_json(point) for point in points]})
        if profile is not None:
            self._output.write(f"\n{profile.render()}\n")
        return int(any(point.num_failed for point in points))

    async def _own_points(self, machine: MachineLimits | None) -> list[LoadPoint]:
        checkpoint = await asyncio.to_thread(self._checkpoint)
        with tempfile.TemporaryDirectory() as folder:
            async with run_portico(checkpoint, self._flags, Path(folder) / "server.log") as server:
                limits = None
                dtype = await served_dtype(server.base_url)
                if machine is not None and dtype is not None and has_limits(dtype, machine):
                    limits = ModelLimits(self._shape, dtype, machine)
                    self._output.write(f"Limits: {machine.describe()}; weights are {dtype}.\n")
                return await self._points(server.base_url, server, limits, word_ids(self._shape.vocab_size))

    async def _points(
        self, base_url: str, server: ServerProcess | None, limits: ModelLimits | None, token_ids: range
    ) -> list[LoadPoint]:
        config = self._config
        target = await find_target(config, base_url)
        workload = make_workload(config, token_ids)
        return [
            await run_load_point(target, config, workload, level, stream=self._progress, server=server, limits=limits)
            for level in config.levels
        ]

    def _checkpoint(self) -> Path:
        config = self._config
        return find_or_make_checkpoint(self._shape, config.checkpoint_dtype, config.seed, config.cache, self._progress)

    def _write(self, table: str, figures: dict[str, Any]) -> None:
        self._output.write(table + "\n")
        if self._config.json is not None:
            # A key may stand among the settings, and files are passed on.
            settings = {**asdict(self._config), "api_key": None, "server_flags": list(self._flags)}
            report = {**describe_run(settings), **figures}
            Path(self._config.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
