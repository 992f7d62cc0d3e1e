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
        """Every metric that has an alias, by the alias; several that share one are one metric."""
        found: dict[str, Metric] = {}
        for metric in self._collect_metrics():
            for alias in self._aliases.get(metric.name, ()):
                renamed = _rename(metric, alias)
                if alias.name in found:
                    found[alias.name].samples.extend(renamed.samples)
                else:
                    found[alias.name] = renamed
        yield from found.values()


def _rename(metric: Metric, alias: MetricAlias) -> Metric:
    """The metric with the labels of the alias; samples that differ in others only are added up."""
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    labels = {**alias.labels, "le": "le"}
    for sample in metric.samples:
        kept = tuple(
            (labels[name], alias.words.get(value, value)) for name, value in sample.labels.items() if name in labels
        )
        suffix = sample.name.removeprefix(metric.name)
        key = (alias.name + (suffix.removesuffix("_total") if alias.is_bare else suffix), kept)
        values[key] = values.get(key, 0.0) + sample.value
    # The format knows no counter of another name.
    kind = "unknown" if alias.is_bare and metric.type == "counter" else metric.type
    renamed = Metric(alias.name, metric.documentation, kind)
    for (name, kept), value in values.items():
        renamed.add_sample(name, {**dict(kept), **alias.constants}, value)
    return renamed
