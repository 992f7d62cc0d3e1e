"""Prometheus metrics by the name of the key; there are none where no keys are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from portico.core.observer import Outcome, RequestRecord

_PREFIX = "portico_key_"


class TenantMetrics(Collector):
    """An observer that counts for each tenant what it has asked for and what it was given."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str]] = Counter()
        self._refusals: Counter[tuple[str, str]] = Counter()
        self._prompt_tokens: Counter[str] = Counter()
        self._output_tokens: Counter[str] = Counter()

    def on_step(self, record: RequestRecord, num_tokens: int, interval: float | None) -> None:
        """Counts output tokens as they come."""
        if record.tenant:
            self._output_tokens[record.tenant] += num_tokens

    def on_end(self, record: RequestRecord) -> None:
        """Counts a request that is over."""
        if not record.tenant:
            return
        self._requests[record.tenant, record.outcome.value] += 1
        if record.outcome is Outcome.REFUSED:
            self._refusals[record.tenant, record.error_kind] += 1
        self._prompt_tokens[record.tenant] += record.num_prompt_tokens

    def describe(self) -> list[Metric]:
        """Nothing, so that nothing is counted twice at start."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        requests = _family("requests", "Requests that came with the key.", "outcome")
        refusals = _family("refusals", "Those that were refused.", "reason")
        for family, counts in ((requests, self._requests), (refusals, self._refusals)):
            for labels, count in tuple(counts.items()):
                family.add_metric(labels, count)
        prompts = _family("prompt_tokens", "Prompt tokens of the key's requests.")
        outputs = _family("generation_tokens", "Output tokens of the key's requests.")
        for family, totals in ((prompts, self._prompt_tokens), (outputs, self._output_tokens)):
            for name, count in tuple(totals.items()):
                family.add_metric((name,), count)
        yield from (requests, refusals, prompts, outputs)


def _family(name: str, documentation: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(_PREFIX + name, documentation, labels=("key", *labels))
