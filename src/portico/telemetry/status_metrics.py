"""Metrics of a wire that are computed from the server's status when the page is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from portico.core.dialect import StatusMetric
from portico.core.model import ServerStatus


class StatusCollector(Collector):
    """Asks for the status once and gives every metric of it."""

    def __init__(self, get_status: Callable[[], ServerStatus], metrics: Sequence[StatusMetric]) -> None:
        self._get_status = get_status
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that the status is not asked for before there is one."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """A family for each name; samples of one name differ in their labels."""
        status = self._get_status()
        families: dict[str, Metric] = {}
        for metric in self._metrics:
            family = families.get(metric.name)
            if family is None:
                # The format calls no counter by a name that does not end in `_total`.
                kind = "gauge" if metric.is_gauge else "unknown"
                family = families[metric.name] = Metric(metric.name, metric.documentation, kind)
            family.add_sample(metric.name, dict(metric.labels(status)), metric.value(status))
        yield from families.values()
