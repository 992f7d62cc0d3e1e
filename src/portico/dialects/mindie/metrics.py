"""The names under which MindIE's dashboards read metrics; their values are the server's.

Source: MindIE Service's EndPoint API, "/metrics". What is not listed has no counterpart here.
"""

from __future__ import annotations

from portico.core.dialect import MetricAlias

_MODEL = {"model_name": "model_name"}
_SAME = (
    "num_requests_running",
    "num_requests_waiting",
    "num_preemptions",
    "prompt_tokens",
    "generation_tokens",
    "time_to_first_token_seconds",
    "e2e_request_latency_seconds",
    "request_prompt_tokens",
    "request_generation_tokens",
)

METRIC_ALIASES = (
    *(MetricAlias(name, name, _MODEL) for name in _SAME),
    MetricAlias("requests_received", "request_received", _MODEL),
    MetricAlias("requests_accepted", "request_success", _MODEL),
    MetricAlias("requests_failed", "request_failed", _MODEL),
    MetricAlias("inter_token_latency_seconds", "time_per_output_token_seconds", _MODEL),
    MetricAlias("kv_cache_usage_ratio", "npu_cache_usage_perc", _MODEL),
)
