"""The server's metrics once more, under the names that dashboards of a wire read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from portico.core.dialect import MetricAlias


class AliasCollector(Collector):
    """Renames what `collect_metrics` gives; the page costs more, the requests nothing."""

    def __init__(
        self, prefix: str, aliases: Sequence[MetricAlias], collect_metrics: Callable[[], Iterable[Metric]]
    ) -> None:
        self._aliases: dict[str, list[MetricAlias]] = {}
        for alias in aliases:
            self._aliases.setdefault(prefix + alias.source, []).append(alias)
        self._collect_metrics = collect_metrics

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known only once the metrics are, and nobody else has them."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every metric that has an alias, by the alias."""
        for metric in self._collect_metrics():
            for alias in self._aliases.get(metric.name, ()):
                yield _rename(metric, alias)


def _rename(metric: Metric, alias: MetricAlias) -> Metric:
    """The metric with the labels of the alias; samples that differ in others only are added up."""
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    labels = {**alias.labels, "le": "le"}
    for sample in metric.samples:
        if sample.name.endswith("_created"):
            continue
        kept = tuple((labels[name], value) for name, value in sample.labels.items() if name in labels)
        key = (alias.name + sample.name.removeprefix(metric.name), kept)
        values[key] = values.get(key, 0.0) + sample.value
    renamed = Metric(alias.name, metric.documentation, metric.type)
    for (name, kept), value in values.items():
        renamed.add_sample(name, dict(kept), value)
    return renamed
