"""The names under which vLLM's dashboards read metrics; their values are the server's, over all dialects.

Source: vLLM's documentation, "Production Metrics". What is not listed has no counterpart here.
"""

from __future__ import annotations

from portico.core.dialect import MetricAlias

_MODEL = {"model_name": "model_name"}


def _same(name: str) -> MetricAlias:
    return MetricAlias(name, f"vllm:{name}", _MODEL)


METRIC_ALIASES = (
    _same("num_requests_running"),
    _same("num_requests_waiting"),
    MetricAlias("kv_cache_usage_ratio", "vllm:kv_cache_usage_perc", _MODEL),
    _same("num_preemptions"),
    _same("prompt_tokens"),
    _same("prompt_tokens_cached"),
    _same("generation_tokens"),
    MetricAlias("choices_finished", "vllm:request_success", {**_MODEL, "reason": "finished_reason"}),
    _same("time_to_first_token_seconds"),
    _same("inter_token_latency_seconds"),
    _same("e2e_request_latency_seconds"),
    _same("request_queue_time_seconds"),
    _same("request_prefill_time_seconds"),
    _same("request_decode_time_seconds"),
    _same("request_inference_time_seconds"),
    _same("request_time_per_output_token_seconds"),
    MetricAlias("prompt_tokens", "vllm:prefix_cache_queries", _MODEL),
    MetricAlias("prompt_tokens_cached", "vllm:prefix_cache_hits", _MODEL),
    _same("request_prompt_tokens"),
    _same("request_generation_tokens"),
    _same("request_max_num_generation_tokens"),
    _same("request_params_n"),
    _same("request_params_max_tokens"),
)
