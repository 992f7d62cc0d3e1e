"""Metrics under the names and in the words of other servers, and how fast the latest requests were."""

from __future__ import annotations

import time

from portico.core.dialect import MetricAlias
from portico.core.errors import EngineFailure, InvalidParameter, Overloaded
from portico.core.model import EngineStats, RecentLatencies
from portico.core.observer import RequestRecord
from portico.telemetry.latencies import Latencies
from portico.telemetry.metrics import Metrics

WORDS = {"InvalidParameter": "validation", "Overloaded": "overloaded", "EngineFailure": "generation"}


def render(*aliases: MetricAlias) -> str:
    """The page after three requests that failed."""
    metrics = Metrics("m", lambda: EngineStats(0, 0, 1, 1, 0), aliases)
    for error in (InvalidParameter("n", "bad."), Overloaded("full."), EngineFailure("dead.")):
        record = RequestRecord("r", "tgi", "/")
        record.fail(error)
        record.end(500, metrics)
    return metrics.render()[0].decode()


def test_counters_without_the_formats_ending() -> None:
    page = render(MetricAlias("requests_received", "other_count", {}, is_bare=True))
    assert "\n# TYPE other_count untyped\nother_count 3.0\n" in page


def test_several_metrics_under_one_name_and_in_other_words() -> None:
    failure = ("other_failure", {"reason": "err"}, WORDS)
    page = render(
        MetricAlias("requests_refused", *failure, is_bare=True), MetricAlias("requests_failed", *failure, is_bare=True)
    )
    for word in ("validation", "overloaded", "generation"):
        assert f'other_failure{{err="{word}"}} 1.0' in page
    assert page.count("# TYPE other_failure ") == 1


def test_the_latest_requests() -> None:
    latencies = Latencies()
    assert latencies.means() == RecentLatencies(0.0, 0.0)
    now = time.perf_counter()
    for first, last, num_tokens in ((0.5, 0.9, 5), (1.5, 1.5, 1), (None, None, 0)):
        record = RequestRecord("r", "tgi", "/", received_at=now, num_output_tokens=num_tokens)
        record.first_token_at = None if first is None else now + first
        record.last_token_at = None if last is None else now + last
        record.end(200, latencies)
    means = latencies.means()
    assert round(means.first_token, 6) == 1.0
    assert round(means.between_tokens, 6) == 0.1
