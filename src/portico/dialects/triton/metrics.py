"""The `nv_inference_*` metrics.

Source: https://github.com/triton-inference-server/server/blob/main/docs/user_guide/metrics.md
What has no counterpart here is listed in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from portico.core.dialect import StatusMetric
from portico.core.model import RequestCounts, ServerStatus
from portico.dialects.triton.decode import ONLY_VERSION

_MICROSECONDS = 1_000_000


def _labels(status: ServerStatus) -> Mapping[str, str]:
    return {"model": status.served.name, "version": ONLY_VERSION}


def _count(name: str, documentation: str, value: Callable[[RequestCounts], float]) -> StatusMetric:
    return StatusMetric(f"nv_inference_{name}", documentation, _labels, lambda status: value(status.counts))


def _failures(reason: str, value: Callable[[RequestCounts], float]) -> StatusMetric:
    return StatusMetric(
        "nv_inference_request_failure",
        "Requests that were not answered.",
        lambda status: {**_labels(status), "reason": reason},
        lambda status: value(status.counts),
    )


def _duration(name: str, documentation: str, seconds: Callable[[RequestCounts], float]) -> StatusMetric:
    return _count(f"{name}_duration_us", documentation, lambda counts: round(seconds(counts) * _MICROSECONDS))


METRICS = (
    _count("request_success", "Requests that were answered.", lambda counts: counts.num_answered),
    _failures("REJECTED", lambda counts: counts.num_rejected),
    _failures("CANCELED", lambda counts: counts.num_cancelled),
    _failures("BACKEND", lambda counts: counts.num_failed),
    _failures("OTHER", lambda counts: 0),
    _count("count", "Inferences, one per answered request.", lambda counts: counts.num_answered),
    _count("exec_count", "Executions, one per answered request.", lambda counts: counts.num_answered),
    StatusMetric(
        "nv_inference_pending_request_count",
        "Requests in the engine's queue.",
        _labels,
        lambda status: status.stats.num_waiting,
        is_gauge=True,
    ),
    _duration("request", "From receipt to the end of the answer.", lambda counts: counts.answered_seconds),
    _duration("queue", "In the engine's queue.", lambda counts: counts.queue_seconds),
    _duration("compute_input", "From receipt to the engine.", lambda counts: counts.prepare_seconds),
    _duration("compute_infer", "From the queue to the last token.", lambda counts: counts.generate_seconds),
    _duration("compute_output", "From there to the end of the answer.", lambda counts: counts.deliver_seconds),
)
"""Of requests in every dialect, since all of them are the one model's."""
