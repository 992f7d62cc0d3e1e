"""Latency against throughput as an SVG drawing, written by hand so that nothing need be installed for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from portico.bench.runner import LoadPoint
from portico.bench.summary import Spread

_WIDTH, _HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 56, 48
_COLOURS = ("#1f6f8b", "#d1495b", "#edae49", "#66a182", "#5f4b8b", "#8d6a4f")
_LABELS = {"closed": "streams at once", "open": "arrivals per second"}
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}.title{font-size:15px;font-weight:600}.panel{font-weight:600}"
    ".small{font-size:10px;fill:#666}.grid{stroke:#e4e4e4}.axis{stroke:#888}"
    "polyline{fill:none;stroke-width:2}.tail{stroke-dasharray:4 4;opacity:.7}"
)


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to pixels, from zero to a round number."""

    top: float
    step: float
    begin: float
    end: float

    @classmethod
    def upto(cls, highest: float, begin: float, end: float) -> _Scale:
        step = _round_step((highest or 1.0) / 5)
        return cls(math.ceil((highest or 1.0) / step) * step, step, begin, end)

    def __call__(self, value: float) -> float:
        return self.begin + (self.end - self.begin) * value / self.top

    def ticks(self) -> list[float]:
        return [index * self.step for index in range(round(self.top / self.step) + 1)]


def render_plot(title: str, series: Mapping[str, Sequence[LoadPoint]]) -> str:
    """Two panels: time to first token and inter-token latency, median and 99th percentile, for each server."""
    width, height = 2 * _WIDTH, _HEIGHT + 30 + 18 * len(series)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text class="title" x="{_LEFT}" y="24">{escape(title)}</text>',
        *_panel(0, "Time to first token, ms", series, lambda point: point.summary.first_token),
        *_panel(_WIDTH, "Inter-token latency, ms", series, lambda point: point.summary.inter_token),
        *_legend(series),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(
    x: float, heading: str, series: Mapping[str, Sequence[LoadPoint]], spread: Callable[[LoadPoint], Spread]
) -> list[str]:
    points = [point for each in series.values() for point in each if not math.isnan(spread(point).p99)]
    across = _Scale.upto(
        max((point.summary.output_throughput for point in points), default=1.0), x + _LEFT, x + _WIDTH - _RIGHT
    )
    up = _Scale.upto(max((spread(point).p99 * 1000 for point in points), default=1.0), _HEIGHT - _BOTTOM, _TOP)
    parts = [f'<text class="panel" x="{x + _LEFT}" y="{_TOP - 12}">{heading}</text>', *_axes(across, up)]
    for colour, each in zip(_cycle(len(series)), series.values(), strict=True):
        shown = [point for point in each if not math.isnan(spread(point).p99)]
        places = [across(point.summary.output_throughput) for point in shown]
        medians = [up(spread(point).median * 1000) for point in shown]
        tails = [up(spread(point).p99 * 1000) for point in shown]
        parts.append(f'<polyline class="tail" stroke="{colour}" points="{_coordinates(places, tails)}"/>')
        parts.append(f'<polyline stroke="{colour}" points="{_coordinates(places, medians)}"/>')
        for point, left, top in zip(shown, places, medians, strict=True):
            parts.append(f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3.5" fill="{colour}"/>')
            parts.append(f'<text class="small" x="{left + 5:.1f}" y="{top - 6:.1f}">{point.level:g}</text>')
    return parts


def _axes(across: _Scale, up: _Scale) -> list[str]:
    parts = []
    for value in up.ticks():
        y = up(value)
        parts.append(f'<line class="grid" x1="{across.begin}" x2="{across.end}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="small" text-anchor="end" x="{across.begin - 6}" y="{y + 3:.1f}">{value:,g}</text>')
    for value in across.ticks():
        x = across(value)
        parts.append(f'<text class="small" text-anchor="middle" x="{x:.1f}" y="{up.begin + 16}">{value:,g}</text>')
    parts.append(f'<line class="axis" x1="{across.begin}" x2="{across.end}" y1="{up.begin}" y2="{up.begin}"/>')
    middle = (across.begin + across.end) / 2
    parts.append(f'<text text-anchor="middle" x="{middle}" y="{up.begin + 36}">output tokens per second</text>')
    return parts


def _legend(series: Mapping[str, Sequence[LoadPoint]]) -> list[str]:
    y = _HEIGHT + 12
    loads = dict.fromkeys(point.load for points in series.values() for point in points)
    labels = " or ".join(_LABELS[load] for load in loads) or "load"
    legend = f"solid: median; dashed: 99th percentile; labels: {labels}"
    parts = [f'<text class="small" x="{_LEFT}" y="{y}">{legend}</text>']
    for colour, name in zip(_cycle(len(series)), series, strict=True):
        y += 18
        parts.append(f'<rect x="{_LEFT}" y="{y - 9}" width="14" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + 22}" y="{y}">{escape(name)}</text>')
    return parts


def _cycle(count: int) -> list[str]:
    return [_COLOURS[index % len(_COLOURS)] for index in range(count)]


def _coordinates(xs: Sequence[float], ys: Sequence[float]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))


def _round_step(step: float) -> float:
    """The next number above that is 1, 2 or 5 times a power of ten."""
    magnitude = 10.0 ** math.floor(math.log10(step))
    return next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= step * 0.999)
