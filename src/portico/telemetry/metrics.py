"""Prometheus metrics of requests and of the engine's load.

A registry of its own, so that several servers in one process do not add up. Times are in seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from portico.core.dialect import MetricAlias
from portico.core.model import EngineStats
from portico.core.observer import Outcome, RequestRecord
from portico.telemetry.aliases import AliasCollector
from portico.telemetry.engine_metrics import EngineCollector

_PREFIX = "portico_"

# A further series for each one, of when it began: no dashboard of the wires reads them.
disable_created_metrics()  # type: ignore[no-untyped-call]

# The bounds of vLLM, so that dashboards made for it keep their resolution.
FIRST_TOKEN_BOUNDS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
    640.0, 2560.0,
)  # fmt: skip
INTER_TOKEN_BOUNDS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
REQUEST_BOUNDS = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
CHOICE_BOUNDS = (1, 2, 5, 10, 20)
LENGTH_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)


class Metrics:
    """An observer of requests, and the page that Prometheus reads.

    `read_stats` is called whenever the page is read; it must not block. `aliases` are further names of metrics,
    and `others` give metrics besides.
    """

    def __init__(
        self,
        model_name: str,
        read_stats: Callable[[], EngineStats],
        aliases: Sequence[MetricAlias] = (),
        others: Sequence[Collector] = (),
    ) -> None:
        self._model_name = model_name
        self._registry = CollectorRegistry()
        self._steps: dict[str, _Steps] = {}
        self._received = self._counter("requests_received", "Requests that came, on generating routes or refused.")
        self._accepted = self._counter("requests_accepted", "Requests that were valid and admitted.")
        self._refused = self._counter("requests_refused", "Requests that were refused.", "reason")
        self._failed = self._counter("requests_failed", "Requests that an error broke off.", "reason")
        self._cancelled = self._counter("requests_cancelled", "Requests whose client went away.")
        self._finished = self._counter("choices_finished", "Choices that ended.", "reason")
        self._prompt_tokens = self._counter("prompt_tokens", "Prompt tokens of admitted requests.")
        self._cached_tokens = self._counter("prompt_tokens_cached", "Prompt tokens that were not evaluated again.")
        self._evaluated_tokens = self._counter("prompt_tokens_evaluated", "Prompt tokens that were not cached.")
        self._first_token = self._histogram("time_to_first_token_seconds", "From receipt.", FIRST_TOKEN_BOUNDS)
        self._latency = self._histogram("e2e_request_latency_seconds", "Of answered requests.", REQUEST_BOUNDS)
        self._queue_time = self._histogram("request_queue_time_seconds", "In the engine's queue.", REQUEST_BOUNDS)
        self._prefill_time = self._histogram("request_prefill_time_seconds", "Evaluating the prompt.", REQUEST_BOUNDS)
        self._decode_time = self._histogram("request_decode_time_seconds", "Generating the output.", REQUEST_BOUNDS)
        self._inference_time = self._histogram("request_inference_time_seconds", "Both together.", REQUEST_BOUNDS)
        self._token_time = self._histogram(
            "request_time_per_output_token_seconds", "After the first token, per token.", INTER_TOKEN_BOUNDS
        )
        self._prompt_length = self._histogram("request_prompt_tokens", "Prompt tokens of a request.", LENGTH_BOUNDS)
        self._evaluated_length = self._histogram(
            "request_prompt_tokens_evaluated", "Prompt tokens of a request that were not cached.", LENGTH_BOUNDS
        )
        self._output_length = self._histogram("request_generation_tokens", "Output tokens of a request.", LENGTH_BOUNDS)
        self._longest = self._histogram(
            "request_max_num_generation_tokens", "Output tokens of a request's longest choice.", LENGTH_BOUNDS
        )
        self._asked_choices = self._histogram("request_params_n", "Choices asked for.", CHOICE_BOUNDS)
        self._asked_tokens = self._histogram("request_params_max_tokens", "Output tokens asked for.", LENGTH_BOUNDS)
        self._connections_refused = Counter(
            _PREFIX + "connections_refused",
            "Connections that were closed before any request could be read, by the words of HTTP.",
            ("model_name", "reason"),
            registry=self._registry,
        )
        self._registry.register(_StepCollector(model_name, self._steps))
        self._registry.register(EngineCollector(_PREFIX, model_name, read_stats))
        ProcessCollector(registry=self._registry)
        # A registry of their own, for collecting them collects the other one.
        self._aliases = CollectorRegistry()
        self._aliases.register(AliasCollector(_PREFIX, aliases, self._registry.collect))
        for other in others:
            self._aliases.register(other)

    def on_step(self, record: RequestRecord, num_tokens: int, interval: float | None) -> None:
        """Counts output tokens as they come, and the time since the previous ones."""
        steps = self._steps.get(record.dialect)
        if steps is None:
            steps = self._steps[record.dialect] = _Steps()
        steps.num_tokens += num_tokens
        if interval is not None:
            steps.seconds += interval
            steps.counts[bisect_left(INTER_TOKEN_BOUNDS, interval)] += 1

    def on_end(self, record: RequestRecord) -> None:
        """Counts a request that is over; answers that generate nothing, such as health checks, are left out."""
        labels = (self._model_name, record.dialect)
        is_generation = record.started_at is not None
        if not is_generation and record.outcome is Outcome.ANSWERED:
            return
        self._received.labels(*labels).inc()
        match record.outcome:
            case Outcome.REFUSED:
                self._refused.labels(*labels, record.error_kind).inc()
            case Outcome.FAILED:
                self._failed.labels(*labels, record.error_kind).inc()
            case Outcome.CANCELLED:
                self._cancelled.labels(*labels).inc()
            case Outcome.ANSWERED:
                pass
        if is_generation:
            self._count_generation(record, labels)

    def count_refused_connection(self, reason: str) -> None:
        """Counts a connection that was refused before anything was known of a request."""
        self._connections_refused.labels(self._model_name, reason).inc()

    def render(self) -> tuple[bytes, str]:
        """The page and its content type."""
        return generate_latest(self._registry) + generate_latest(self._aliases), CONTENT_TYPE_LATEST

    def _count_generation(self, record: RequestRecord, labels: tuple[str, str]) -> None:
        self._accepted.labels(*labels).inc()
        self._prompt_tokens.labels(*labels).inc(record.num_prompt_tokens)
        self._cached_tokens.labels(*labels).inc(record.num_cached_tokens)
        self._prompt_length.labels(*labels).observe(record.num_prompt_tokens)
        num_evaluated = max(record.num_prompt_tokens - record.num_cached_tokens, 0)
        self._evaluated_tokens.labels(*labels).inc(num_evaluated)
        self._evaluated_length.labels(*labels).observe(num_evaluated)
        self._output_length.labels(*labels).observe(record.num_output_tokens)
        self._longest.labels(*labels).observe(record.longest_output)
        self._asked_choices.labels(*labels).observe(record.num_choices)
        if record.max_tokens is not None:
            self._asked_tokens.labels(*labels).observe(record.max_tokens)
        for reason in record.finish_reasons:
            self._finished.labels(*labels, reason.value).inc()
        if record.first_token_at is not None:
            self._first_token.labels(*labels).observe(record.first_token_at - record.received_at)
        if record.queue_time is not None:
            self._queue_time.labels(*labels).observe(record.queue_time)
            self._prefill_time.labels(*labels).observe(record.prefill_time)
            self._decode_time.labels(*labels).observe(record.decode_time)
            self._inference_time.labels(*labels).observe(record.prefill_time + record.decode_time)
            self._observe_token_time(record, labels)
        if record.outcome is Outcome.ANSWERED and record.ended_at is not None:
            self._latency.labels(*labels).observe(record.ended_at - record.received_at)

    def _observe_token_time(self, record: RequestRecord, labels: tuple[str, str]) -> None:
        if record.first_token_at is None or record.last_token_at is None or record.num_output_tokens < 2:
            return
        seconds = record.last_token_at - record.first_token_at
        self._token_time.labels(*labels).observe(seconds / (record.num_output_tokens - 1))

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, documentation, ("model_name", "dialect", *labels), registry=self._registry)

    def _histogram(self, name: str, documentation: str, bounds: tuple[float, ...]) -> Histogram:
        labels = ("model_name", "dialect")
        return Histogram(_PREFIX + name, documentation, labels, buckets=bounds, registry=self._registry)


class _Steps:
    """Output tokens of one dialect. Written on every step, so without the locks and label look-ups of the library."""

    __slots__ = ("counts", "num_tokens", "seconds")

    def __init__(self) -> None:
        self.num_tokens = 0
        self.seconds = 0.0
        self.counts = [0] * (len(INTER_TOKEN_BOUNDS) + 1)


class _StepCollector(Collector):
    """Gives what was counted step by step in the library's form."""

    def __init__(self, model_name: str, steps: dict[str, _Steps]) -> None:
        self._model_name = model_name
        self._steps = steps

    def collect(self) -> Iterator[Metric]:
        labels = ("model_name", "dialect")
        tokens = CounterMetricFamily(_PREFIX + "generation_tokens", "Output tokens.", labels=labels)
        latency = HistogramMetricFamily(
            _PREFIX + "inter_token_latency_seconds", "Between output tokens of a request.", labels=labels
        )
        bounds = [*(str(bound) for bound in INTER_TOKEN_BOUNDS), "+Inf"]
        for dialect, steps in tuple(self._steps.items()):
            values = (self._model_name, dialect)
            tokens.add_metric(values, steps.num_tokens)
            latency.add_metric(values, list(zip(bounds, accumulate(steps.counts), strict=True)), steps.seconds)
        yield tokens
        yield latency
