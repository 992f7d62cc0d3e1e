"""Outcomes to figures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from portico.bench.load import Outcome


@dataclass(frozen=True, slots=True)
class Spread:
    """Where values lie; NaN without values."""

    median: float
    p99: float
    mean: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of values in any order."""
        ordered = sorted(values)
        mean = math.fsum(ordered) / len(ordered) if ordered else math.nan
        return cls(percentile(ordered, 50), percentile(ordered, 99), mean)


@dataclass(frozen=True, slots=True)
class LoadSummary:
    """One load point. Only requests that did not fail count towards rates and latencies; times are in seconds.

    Attributes:
        duration: from the first request sent to the last answer ended.
        inter_token: gaps between successive arrivals of text, as a reader sees them; several tokens may arrive at once.
        per_token: mean time of one token after the first, for each request.
        errors: how often each error occurred.
    """

    num_requests: int
    num_failed: int
    num_short: int
    num_input_tokens: int
    num_output_tokens: int
    duration: float
    first_token: Spread
    inter_token: Spread
    per_token: Spread
    end_to_end: Spread
    errors: dict[str, int]

    @property
    def output_throughput(self) -> float:
        """Output tokens per second."""
        return self.num_output_tokens / self.duration if self.duration else 0.0

    @property
    def request_throughput(self) -> float:
        """Completed requests per second."""
        return (self.num_requests - self.num_failed) / self.duration if self.duration else 0.0


def summarise(outcomes: Sequence[Outcome]) -> LoadSummary:
    """The figures of one load point."""
    good = [outcome for outcome in outcomes if outcome.error is None]
    start = min((outcome.started_at for outcome in outcomes), default=0.0)
    end = max((outcome.started_at + outcome.total for outcome in outcomes), default=0.0)
    return LoadSummary(
        num_requests=len(outcomes),
        num_failed=len(outcomes) - len(good),
        num_short=sum(outcome.is_short for outcome in good),
        num_input_tokens=sum(len(outcome.request.prompt_ids) for outcome in good),
        num_output_tokens=sum(outcome.num_output_tokens for outcome in good),
        duration=end - start,
        first_token=Spread.of([outcome.first_text for outcome in good if outcome.first_text is not None]),
        inter_token=Spread.of([gap for outcome in good for gap in outcome.gaps]),
        per_token=Spread.of([time for outcome in good if (time := _time_per_token(outcome)) is not None]),
        end_to_end=Spread.of([outcome.total for outcome in good]),
        errors=dict(Counter(outcome.error for outcome in outcomes if outcome.error is not None).most_common()),
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The percentile of sorted values, linear between neighbours; NaN without values."""
    if not ordered:
        return math.nan
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _time_per_token(outcome: Outcome) -> float | None:
    num_later = outcome.num_output_tokens // outcome.request.num_choices - 1
    if outcome.first_text is None or num_later < 1:
        return None
    return (outcome.last_text - outcome.first_text) / num_later
