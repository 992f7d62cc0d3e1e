"""The names under which TGI's dashboards and autoscalers read metrics; their values are the server's.

Source: TGI's documentation, "Metrics", and its Grafana board. What is not listed has no counterpart here.
"""

from __future__ import annotations

from portico.core.dialect import MetricAlias


def _renamed(source: str, name: str) -> MetricAlias:
    return MetricAlias(source, f"tgi_{name}", {})


METRIC_ALIASES = (
    _renamed("num_requests_waiting", "queue_size"),
    _renamed("num_requests_running", "batch_current_size"),
    _renamed("requests_received", "request_count"),
    _renamed("requests_accepted", "request_success"),
    _renamed("requests_failed", "request_failure"),
    _renamed("e2e_request_latency_seconds", "request_duration"),
    _renamed("request_queue_time_seconds", "request_queue_duration"),
    _renamed("inter_token_latency_seconds", "request_mean_time_per_token_duration"),
    _renamed("request_prompt_tokens", "request_input_length"),
    _renamed("request_generation_tokens", "request_generated_tokens"),
)
