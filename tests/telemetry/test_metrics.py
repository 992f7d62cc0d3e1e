"""What Prometheus reads after requests of every outcome."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from portico.core.dialect import MetricAlias
from portico.core.errors import EngineFailure, InvalidParameter
from portico.core.events import FinishReason, Prefilled, Started
from portico.core.model import DraftCounts, EngineMemory, EngineStats
from portico.core.observer import RequestRecord
from portico.dialects import vllm
from portico.telemetry.metrics import INTER_TOKEN_BOUNDS, Metrics
from tests.core.events import delta, finished
from tests.requests import make_request

STATS = EngineStats(num_running=3, num_waiting=2, num_blocks=100, num_free_blocks=75, num_preemptions=5)


def metrics() -> Metrics:
    return Metrics("qwen", lambda: STATS)


def record() -> RequestRecord:
    return RequestRecord("id", "openai", "/v1/completions")


def samples(observer: Metrics) -> dict[tuple[str, str], float]:
    """Values by name and by the label that tells samples of one name apart."""
    body, _ = observer.render()
    values = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            if sample.name.startswith("portico_"):
                assert sample.labels["model_name"] == "qwen"
                values[sample.name, sample.labels.get("reason") or sample.labels.get("le") or ""] = sample.value
    return values


def answer(observer: Metrics, num_tokens: int) -> None:
    request = record()
    request.observe([Started("qwen", (10,))], observer)
    request.observe([Prefilled(0, 4, ())], observer)
    for token_id in range(num_tokens):
        request.observe([delta(0, "a", [token_id])], observer)
    request.observe([finished(0, FinishReason.LENGTH)], observer)
    request.end(200, observer)


def test_answered_requests() -> None:
    observer = metrics()
    answer(observer, 3)
    answer(observer, 1)
    values = samples(observer)
    assert not any(name.endswith("_created") for name, _ in values)
    assert values["portico_requests_received_total", ""] == 2
    assert values["portico_requests_accepted_total", ""] == 2
    assert values["portico_choices_finished_total", "length"] == 2
    assert values["portico_prompt_tokens_total", ""] == 20
    assert values["portico_prompt_tokens_cached_total", ""] == 8
    assert values["portico_generation_tokens_total", ""] == 4
    assert values["portico_time_to_first_token_seconds_count", ""] == 2
    assert values["portico_e2e_request_latency_seconds_count", ""] == 2
    assert values["portico_request_queue_time_seconds_sum", ""] == 0.5
    assert values["portico_request_prefill_time_seconds_sum", ""] == 1.0
    assert values["portico_request_decode_time_seconds_sum", ""] == 2.0
    assert values["portico_request_inference_time_seconds_sum", ""] == 3.0
    assert values["portico_request_time_per_output_token_seconds_count", ""] == 1
    assert values["portico_request_prompt_tokens_sum", ""] == 20
    assert values["portico_request_generation_tokens_sum", ""] == 4
    assert values["portico_inter_token_latency_seconds_count", ""] == 2


def test_output_tokens_are_counted_while_the_request_runs() -> None:
    observer, request = metrics(), record()
    request.observe([delta(0, "ab", [1, 2])], observer)
    assert samples(observer)["portico_generation_tokens_total", ""] == 2


def test_intervals_fall_into_the_buckets_that_their_bounds_include() -> None:
    observer = metrics()
    for interval in (None, 0.01, 0.0101, 1000.0):
        observer.on_step(record(), 1, interval)
    values = samples(observer)
    name = "portico_inter_token_latency_seconds"
    assert values[f"{name}_bucket", "0.01"] == 1
    assert values[f"{name}_bucket", "0.025"] == 2
    assert values[f"{name}_bucket", str(INTER_TOKEN_BOUNDS[-1])] == 2
    assert values[f"{name}_bucket", "+Inf"] == values[f"{name}_count", ""] == 3
    assert values[f"{name}_sum", ""] == pytest.approx(1000.0201)


def test_refused_failed_and_cancelled_requests() -> None:
    observer = metrics()
    refused = record()
    refused.fail(InvalidParameter("n", "No."))
    refused.end(400, observer)
    failed = record()
    failed.observe([Started("qwen", (1,))], observer)
    failed.fail(EngineFailure("Gone."))
    failed.end(500, observer)
    cancelled = record()
    cancelled.observe([Started("qwen", (1,)), delta(0, "a", [1])], observer)
    cancelled.cancel()
    cancelled.end(200, observer)
    values = samples(observer)
    assert values["portico_requests_received_total", ""] == 3
    assert values["portico_requests_accepted_total", ""] == 2
    assert values["portico_requests_refused_total", "InvalidParameter"] == 1
    assert values["portico_requests_failed_total", "EngineFailure"] == 1
    assert values["portico_requests_cancelled_total", ""] == 1
    assert values["portico_time_to_first_token_seconds_count", ""] == 1
    assert ("portico_e2e_request_latency_seconds_count", "") not in values


def test_answers_that_generate_nothing_are_not_counted() -> None:
    observer = metrics()
    record().end(200, observer)
    assert not any(name.startswith("portico_request") for name, _ in samples(observer))


def test_the_load_is_read_when_the_page_is() -> None:
    values = samples(metrics())
    assert values["portico_num_requests_running", ""] == 3
    assert values["portico_num_requests_waiting", ""] == 2
    assert values["portico_kv_blocks", ""] == 100
    assert values["portico_kv_blocks_free", ""] == 75
    assert values["portico_kv_cache_usage_ratio", ""] == 0.25
    assert values["portico_num_preemptions_total", ""] == 5


def test_an_engine_without_blocks_uses_none_of_them() -> None:
    observer = Metrics("qwen", lambda: EngineStats(0, 0, 0, 0, 0))
    assert samples(observer)["portico_kv_cache_usage_ratio", ""] == 0


def test_guesses_are_counted_by_their_place() -> None:
    drafts = DraftCounts(num_drafts=10, num_tokens=25, accepted_by_position=(7, 4, 0))
    observer = Metrics("qwen", lambda: replace(STATS, drafts=drafts), vllm.dialect().metric_aliases)
    page = observer.render()[0].decode()
    assert 'portico_draft_tokens_accepted_by_position_total{model_name="qwen",position="1"} 4.0' in page
    families = text_string_to_metric_families(page)
    values = {
        (each.name, each.labels.get("position")): each.value
        for family in families
        for each in family.samples
        if each.name.startswith("vllm:spec_decode")
    }
    assert values == {
        ("vllm:spec_decode_num_drafts_total", None): 10,
        ("vllm:spec_decode_num_draft_tokens_total", None): 25,
        ("vllm:spec_decode_num_accepted_tokens_total", None): 11,
        ("vllm:spec_decode_num_accepted_tokens_per_pos_total", "0"): 7,
        ("vllm:spec_decode_num_accepted_tokens_per_pos_total", "1"): 4,
        ("vllm:spec_decode_num_accepted_tokens_per_pos_total", "2"): 0,
    }


def test_an_engine_that_guesses_nothing_has_no_metrics_of_it() -> None:
    assert "draft" not in Metrics("qwen", lambda: STATS, vllm.dialect().metric_aliases).render()[0].decode()


def test_memory_of_both_processes() -> None:
    memory = EngineMemory(weights=1000, kv_cache=200, base=30, peak=1100)
    page = Metrics("qwen", lambda: replace(STATS, memory=memory)).render()[0].decode()
    found = {
        (each.name, each.labels.get("process")): each.value
        for family in text_string_to_metric_families(page)
        for each in family.samples
        if each.name.endswith(("memory_bytes", "weight_bytes", "cache_bytes")) and each.name.startswith("portico_")
    }
    assert found["portico_weight_bytes", None] == 1000
    assert found["portico_kv_cache_bytes", None] == 200
    assert found["portico_base_memory_bytes", "engine"] == 30
    assert found["portico_peak_memory_bytes", "engine"] == 1100
    assert 1 << 20 < found["portico_base_memory_bytes", "server"] <= found["portico_peak_memory_bytes", "server"]


def test_prompt_tokens_by_where_they_come_from() -> None:
    observer = Metrics("qwen", lambda: STATS, vllm.dialect().metric_aliases)
    answer(observer, 3)
    page = observer.render()[0].decode()
    labels = 'engine="0",model_name="qwen"'
    assert f'vllm:prompt_tokens_by_source_total{{{labels},source="local_compute"}} 6.0' in page
    assert f'vllm:prompt_tokens_by_source_total{{{labels},source="local_cache_hit"}} 4.0' in page
    assert f"vllm:request_prefill_kv_computed_tokens_sum{{{labels}}} 6.0" in page
    assert f'vllm:num_requests_waiting_by_reason{{{labels},reason="capacity"}} 2.0' in page


def test_aliases_add_up_what_they_do_not_tell_apart() -> None:
    model = {"model_name": "model"}
    observer = Metrics(
        "qwen",
        lambda: STATS,
        (
            MetricAlias("prompt_tokens", "other:prompt", model),
            MetricAlias("choices_finished", "other:success", {**model, "reason": "finished_reason"}),
            MetricAlias("inter_token_latency_seconds", "other:itl_seconds", model),
            MetricAlias("num_requests_running", "other:running", model),
        ),
    )
    for dialect in ("first", "second"):
        request = RequestRecord("id", dialect, "/")
        request.observe([Started("qwen", (10,)), delta(0, "a", [1])], observer)
        request.observe([delta(0, "b", [2]), finished(0, FinishReason.LENGTH)], observer)
        request.end(200, observer)
    families = text_string_to_metric_families(observer.render()[0].decode())
    values = {(each.name, *each.labels.items()): each.value for family in families for each in family.samples}
    assert values["other:prompt_total", ("model", "qwen")] == 20
    assert values["other:success_total", ("finished_reason", "length"), ("model", "qwen")] == 2
    assert values["other:running", ("model", "qwen")] == 3
    assert values["other:itl_seconds_count", ("model", "qwen")] == 2
    assert values["other:itl_seconds_bucket", ("le", "+Inf"), ("model", "qwen")] == 2


def test_the_content_type_is_that_of_prometheus() -> None:
    body, content_type = metrics().render()
    assert content_type.startswith("text/plain; version=")
    assert body.endswith(b"\n")


def test_two_servers_in_one_process_do_not_add_up() -> None:
    first, second = metrics(), metrics()
    answer(first, 1)
    assert ("portico_requests_received_total", "") not in samples(second)


async def test_reading_the_page_while_requests_run() -> None:
    observer = metrics()

    async def run() -> None:
        for _ in range(20):
            answer(observer, 2)
            await asyncio.sleep(0)

    task = asyncio.create_task(run())
    while not task.done():
        samples(observer)
        await asyncio.sleep(0)
    assert samples(observer)["portico_generation_tokens_total", ""] == 40


def test_what_was_asked_for_and_the_longest_choice() -> None:
    observer = metrics()
    request = record()
    request.describe(make_request("a", stopping={"max_tokens": 7}, output={"num_choices": 2}))
    request.observe([Started("qwen", (10,)), delta(0, "a", [1]), delta(1, "ab", [1, 2])], observer)
    request.observe([delta(0, "b", [2]), delta(1, "cd", [3, 4]), finished(0), finished(1)], observer)
    request.end(200, observer)
    values = samples(observer)
    assert values["portico_request_params_n_sum", ""] == 2
    assert values["portico_request_params_max_tokens_sum", ""] == 7
    assert values["portico_request_generation_tokens_sum", ""] == 6
    assert values["portico_request_max_num_generation_tokens_sum", ""] == 4
