"""Metrics that are computed when the page is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from portico.core.dialect import StatusMetric
from portico.core.model import ServerStatus
from portico.telemetry.metrics import Metrics
from portico.telemetry.status_metrics import StatusCollector
from tests.dialects.golden import STATUS


def labels(kind: str) -> Mapping[str, str]:
    return {"model": "demo", "kind": kind}


def test_names_stand_as_they_are_and_values_are_of_the_moment() -> None:
    status = STATUS

    def get_status() -> ServerStatus:
        return status

    declared = (
        StatusMetric("x_count", "All.", lambda status: labels("a"), lambda status: status.counts.num_answered),
        StatusMetric("x_count", "All.", lambda status: labels("b"), lambda status: status.counts.num_failed),
        StatusMetric("y_now", "Now.", lambda status: {}, lambda status: status.stats.num_waiting, is_gauge=True),
    )
    metrics = Metrics("demo", lambda: STATUS.stats, others=[StatusCollector(get_status, declared)])
    status = replace(STATUS, counts=replace(STATUS.counts, num_answered=9))
    page = metrics.render()[0].decode()
    assert 'x_count{kind="a",model="demo"} 9.0\nx_count{kind="b",model="demo"} 1.0\n' in page
    assert "# TYPE y_now gauge\ny_now 2.0\n" in page
    families = [family.name for family in text_string_to_metric_families(page)]
    assert families.count("x_count") == 1
