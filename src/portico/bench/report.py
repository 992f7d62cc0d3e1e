"""Load points as an aligned table and as JSON."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from portico import __version__
from portico.bench.runner import LoadPoint
from portico.bench.summary import Spread

_LOAD_HEADINGS = {"closed": "streams", "open": "req/s in"}


def render_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned to the right, the first to the left."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = []
    for row in (headings, ["-" * width for width in widths], *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip())
    return "\n".join(lines)


def render_points(points: Sequence[LoadPoint]) -> str:
    """The table of a run, and a line for every kind of failure."""
    has_memory = any(point.peak_memory is not None for point in points)
    has_budget = any(point.memory_share is not None for point in points)
    has_limit = any(point.limit is not None for point in points)
    headings = [
        _LOAD_HEADINGS[points[0].load],
        *("requests", "failed", "tokens/s", "req/s", "TTFT ms p50", "p99", "ITL ms p50", "p99", "TPOT ms p50"),
        *("E2E s p50", "p99"),
        *(["peak MiB"] if has_memory else []),
        *(["of W+KV", "w/o base"] if has_budget else []),
        *(["limit tok/s", "reached"] if has_limit else []),
    ]
    rows = []
    for point in points:
        row = _cells(point)
        if has_memory:
            row.append("" if point.peak_memory is None else f"{point.peak_memory / 2**20:,.0f}")
        if has_budget:
            shares = (point.memory_share, point.memory_share_without_base)
            row += ["" if each is None else f"{each:.2f}" for each in shares]
        if has_limit:
            share = point.share_of_limit
            row += ["", ""] if share is None else [f"{point.limit:,.1f}", f"{share:.0%}"]
        rows.append(row)
    return "\n".join([render_table(headings, rows), *_remarks(points)])


def _cells(point: LoadPoint) -> list[str]:
    summary = point.summary
    return [
        f"{point.level:g}",
        str(summary.num_requests),
        str(summary.num_failed),
        f"{summary.output_throughput:,.1f}",
        f"{summary.request_throughput:,.2f}",
        *_spread(summary.first_token, 1000, 1),
        *_spread(summary.inter_token, 1000, 2),
        _spread(summary.per_token, 1000, 2)[0],
        *_spread(summary.end_to_end, 1, 2),
    ]


def _spread(spread: Spread, scale: float, digits: int) -> list[str]:
    return ["-" if math.isnan(value) else f"{value * scale:,.{digits}f}" for value in (spread.median, spread.p99)]


def _remarks(points: Sequence[LoadPoint]) -> list[str]:
    remarks = []
    for point in points:
        summary = point.summary
        if summary.num_short:
            remarks.append(f"At {point.level:g}: {summary.num_short} answers had another length than asked for.")
        remarks += [f"At {point.level:g}: {count} failed: {error}" for error, count in summary.errors.items()]
    return remarks


def point_to_json(point: LoadPoint) -> dict[str, Any]:
    """All figures of a load point; times in seconds, memory in bytes."""
    summary = point.summary
    figures = {
        "load": point.load,
        "level": point.level,
        "output_throughput": summary.output_throughput,
        "request_throughput": summary.request_throughput,
        **asdict(summary),
        "cpu_seconds": point.cpu_seconds,
        "generator_cpu_seconds": point.generator_cpu_seconds,
        "peak_memory": point.peak_memory,
        "memory": None if point.memory is None else asdict(point.memory),
        "memory_share": point.memory_share,
        "memory_share_without_base": point.memory_share_without_base,
        "limit": point.limit,
        "share_of_limit": point.share_of_limit,
    }
    return {key: _without_nan(value) for key, value in figures.items()}


def describe_run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader needs to know to repeat a run."""
    return {
        "portico": __version__,
        "python": platform.python_version(),
        "cpu": _cpu_name(),
        "num_cores": len(os.sched_getaffinity(0)),
        "settings": dict(settings),
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: what could not be measured is null."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
