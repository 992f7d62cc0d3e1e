"""The names under which TGI's dashboards and autoscalers read metrics; their values are the server's.

Source: TGI's documentation, "Metrics", and its Grafana board. What has no
counterpart here is listed in docs/metrics.md.
"""

from __future__ import annotations

from portico.core.dialect import MetricAlias

# TGI's words for the server's classes of errors.
_WORDS = {
    "Overloaded": "overloaded",
    "NotReady": "overloaded",
    "EngineFailure": "generation",
    "TimedOut": "incomplete",
    "Stalled": "incomplete",
    "QueueTimedOut": "overloaded",
    **dict.fromkeys(
        (
            "InvalidParameter",
            "MalformedRequest",
            "MethodNotAllowed",
            "PayloadTooLarge",
            "PromptTooLong",
            "SchemaMismatch",
            "UnknownModel",
            "UnknownRoute",
            "UnsupportedParameter",
        ),
        "validation",
    ),
}


def _renamed(source: str, name: str) -> MetricAlias:
    return MetricAlias(source, f"tgi_{name}", {}, is_bare=True)


def _failure(source: str) -> MetricAlias:
    return MetricAlias(source, "tgi_request_failure", {"reason": "err"}, _WORDS, is_bare=True)


METRIC_ALIASES = (
    _renamed("num_requests_waiting", "queue_size"),
    _renamed("num_requests_running", "batch_current_size"),
    _renamed("requests_received", "request_count"),
    _renamed("requests_accepted", "request_success"),
    _failure("requests_failed"),
    _failure("requests_refused"),
    _renamed("e2e_request_latency_seconds", "request_duration"),
    _renamed("request_queue_time_seconds", "request_queue_duration"),
    _renamed("request_inference_time_seconds", "request_inference_duration"),
    _renamed("inter_token_latency_seconds", "request_mean_time_per_token_duration"),
    _renamed("request_prompt_tokens", "request_input_length"),
    _renamed("request_generation_tokens", "request_generated_tokens"),
    _renamed("request_params_max_tokens", "request_max_new_tokens"),
)
