"""What an engine tells of itself, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from portico.core.model import DraftCounts, EngineMemory, EngineStats
from portico.core.process_memory import peak_resident_bytes, resident_bytes


class EngineCollector(Collector):
    """Asks the engine for its load when the page is read; the names of its metrics begin with `prefix`."""

    def __init__(self, prefix: str, model_name: str, read_stats: Callable[[], EngineStats]) -> None:
        self._prefix = prefix
        self._model_name = model_name
        self._read_stats = read_stats
        # Of this process, which has read the tokenizer but has answered nothing.
        self._base = resident_bytes()

    def collect(self) -> Iterator[Metric]:
        """The gauges, and what has been counted since the engine's process was started."""
        stats = self._read_stats()
        num_used = stats.num_blocks - stats.num_free_blocks
        yield self._gauge("num_requests_running", "Sequences that the engine works on.", stats.num_running)
        yield self._gauge("num_requests_waiting", "Requests in the engine's queue.", stats.num_waiting)
        yield self._gauge("kv_blocks", "Blocks of KV cache.", stats.num_blocks)
        yield self._gauge("kv_blocks_free", "Blocks of KV cache that nothing uses.", stats.num_free_blocks)
        yield self._gauge("kv_cache_usage_ratio", "Share of the KV cache in use.", num_used / max(stats.num_blocks, 1))
        yield self._counter("num_preemptions", "Sequences that lost their place.", stats.num_preemptions)
        yield self._counter("engine_restarts", "Times that the engine was started again.", stats.num_restarts)
        if stats.drafts is not None:
            yield from self._count_drafts(stats.drafts)
        if stats.memory is not None:
            yield from self._measure(stats.memory)

    def _count_drafts(self, drafts: DraftCounts) -> Iterator[Metric]:
        yield self._counter("drafts", "Times that a sequence's next tokens were guessed.", drafts.num_drafts)
        yield self._counter("draft_tokens", "Tokens that were guessed.", drafts.num_tokens)
        yield self._counter("draft_tokens_accepted", "Guesses that saved a step.", drafts.num_accepted)
        places = CounterMetricFamily(
            self._prefix + "draft_tokens_accepted_by_position",
            "Guesses that saved a step, by their place behind the last token.",
            labels=("model_name", "position"),
        )
        for position, number in enumerate(drafts.accepted_by_position):
            places.add_metric((self._model_name, str(position)), number)
        yield places

    def _measure(self, memory: EngineMemory) -> Iterator[Metric]:
        yield self._gauge("weight_bytes", "All weights as they are held.", memory.weights)
        yield self._gauge("kv_cache_bytes", "The whole KV cache; unused pages take nothing.", memory.kv_cache)
        for name, documentation, server, engine in (
            ("base_memory_bytes", "Resident before weights and requests.", self._base, memory.base),
            ("peak_memory_bytes", "The most that was resident so far.", peak_resident_bytes(), memory.peak),
        ):
            gauge = GaugeMetricFamily(self._prefix + name, documentation, labels=("model_name", "process"))
            gauge.add_metric((self._model_name, "server"), server)
            gauge.add_metric((self._model_name, "engine"), engine)
            yield gauge

    def _counter(self, name: str, documentation: str, value: float) -> Metric:
        counter = CounterMetricFamily(self._prefix + name, documentation, labels=("model_name",))
        counter.add_metric((self._model_name,), value)
        return counter

    def _gauge(self, name: str, documentation: str, value: float) -> Metric:
        gauge = GaugeMetricFamily(self._prefix + name, documentation, labels=("model_name",))
        gauge.add_metric((self._model_name,), value)
        return gauge
