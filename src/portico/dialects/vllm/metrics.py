"""The names under which vLLM's dashboards read metrics; their values are the server's, over all dialects.

Source: vllm/v1/metrics/loggers.py and vllm/v1/spec_decode/metrics.py of vLLM 0.32, and for names that have been
replaced since its documentation of 0.9. What has no counterpart here is listed in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from portico.core.dialect import MetricAlias, StatusMetric
from portico.core.model import ServerStatus

_MODEL = {"model_name": "model_name"}
# vLLM numbers engines that serve one model together; here there is one.
_ENGINE = {"engine": "0"}


def _renamed(source: str, name: str, /, **constants: str) -> MetricAlias:
    return MetricAlias(source, f"vllm:{name}", _MODEL, constants={**_ENGINE, **constants})


def _relabelled(source: str, name: str, label: str, own_label: str) -> MetricAlias:
    return MetricAlias(source, f"vllm:{name}", {**_MODEL, label: own_label}, constants=_ENGINE)


_SAME = (
    "num_requests_running",
    "num_requests_waiting",
    "num_preemptions",
    "prompt_tokens",
    "prompt_tokens_cached",
    "generation_tokens",
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "e2e_request_latency_seconds",
    "request_queue_time_seconds",
    "request_prefill_time_seconds",
    "request_decode_time_seconds",
    "request_inference_time_seconds",
    "request_time_per_output_token_seconds",
    "request_prompt_tokens",
    "request_generation_tokens",
    "request_max_num_generation_tokens",
    "request_params_n",
    "request_params_max_tokens",
)

METRIC_ALIASES = (
    *(_renamed(name, name) for name in _SAME),
    _renamed("num_requests_waiting", "num_requests_waiting_by_reason", reason="capacity"),
    _renamed("kv_cache_usage_ratio", "kv_cache_usage_perc"),
    _renamed("prompt_tokens", "prefix_cache_queries"),
    _renamed("prompt_tokens_cached", "prefix_cache_hits"),
    _renamed("prompt_tokens_evaluated", "prompt_tokens_by_source", source="local_compute"),
    _renamed("prompt_tokens_cached", "prompt_tokens_by_source", source="local_cache_hit"),
    _renamed("request_prompt_tokens_evaluated", "request_prefill_kv_computed_tokens"),
    _relabelled("choices_finished", "request_success", "reason", "finished_reason"),
    _renamed("drafts", "spec_decode_num_drafts"),
    _renamed("draft_tokens", "spec_decode_num_draft_tokens"),
    _renamed("draft_tokens_accepted", "spec_decode_num_accepted_tokens"),
    _relabelled("draft_tokens_accepted_by_position", "spec_decode_num_accepted_tokens_per_pos", "position", "position"),
    # Until vLLM 0.10.
    _renamed("kv_cache_usage_ratio", "gpu_cache_usage_perc"),
    _renamed("prompt_tokens", "gpu_prefix_cache_queries"),
    _renamed("prompt_tokens_cached", "gpu_prefix_cache_hits"),
    _renamed("inter_token_latency_seconds", "time_per_output_token_seconds"),
)


def _cache_labels(status: ServerStatus) -> Mapping[str, str]:
    stats = status.stats
    return {**_ENGINE, "block_size": str(stats.block_size), "num_gpu_blocks": str(stats.num_blocks)}


METRICS = (
    StatusMetric(
        "vllm:cache_config_info",
        "The blocks of KV cache, wherever they are, and the tokens of each.",
        _cache_labels,
        lambda status: 1,
        is_gauge=True,
    ),
)
"""Routers find the capacity of a server by these labels."""
