"""What Triton's own tests expect of a server, over bare HTTP.

The numbers are those of a list of its suites: 1 to 19 are the generate endpoints (L0_http/generate_endpoint_test),
20 to 31 `infer` and the server (L0_http), 32 to 39 streams, the vLLM backend and its metrics. What those suites do with
the official clients is in `test_triton_clients`: 5 (pieces come as they are made), 11 (a hundred streams), 20, 27 for
`infer`, 29, 33, 36 and custom parameters. 7 needs two inputs that must be there, and here one must. 24 is part of 21.
30 is Triton's way of keys for groups of paths; keys here are those of the whole server.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.end_to_end.server import RunningServer, kill_worker, run_server

pytestmark = pytest.mark.xdist_group("triton")

MODEL = "/v2/models/demo"
MAX_BODY = 100_000
JSON, SSE = "application/json", "text/event-stream; charset=utf-8"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    flags = ("--engine", "scripted", "--served-model-name", "demo", "--max-body-size", str(MAX_BODY))
    with run_server(*flags, "--max-num-seqs", "1", "--max-waiting", "0", "--token-delay", "0.01") as started:
        yield started


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=30) as client:
        yield client


def generate(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post(f"{MODEL}/generate", json={"text_input": "hello", "temperature": 0, **fields})


def generate_stream(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post(f"{MODEL}/generate_stream", json={"text_input": "hello", "temperature": 0, **fields})


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The events, whose framing is exact."""
    assert answer.headers["content-type"] == SSE
    blocks = answer.text.split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: {") for block in blocks)
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def infer(http: httpx.Client, inputs: list[dict[str, Any]], **fields: Any) -> httpx.Response:
    return http.post(f"{MODEL}/infer", json={"inputs": inputs, "parameters": {"max_tokens": 3}, **fields})


def text(data: Any = "hi", shape: Any = (1,), **fields: Any) -> dict[str, Any]:
    return {"name": "text_input", "shape": shape, "datatype": "BYTES", "data": data, **fields}


def refused(answer: httpx.Response, status: int, words: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, JSON), answer.text
    assert words in answer.json()["error"]


def test_01_02_an_answer_with_and_without_optional_inputs(http: httpx.Client) -> None:
    answer = generate(http, max_tokens=3)
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    assert list(answer.json()) == ["model_name", "model_version", "text_output"]
    assert answer.json()["text_output"].startswith("hello")
    more = generate(http, max_tokens=3, exclude_input_in_output=True, return_finish_reason=True).json()
    assert more["finish_reason"] == "length"
    assert answer.json()["text_output"] == "hello" + more["text_output"]


def test_03_the_id_comes_back_if_there_is_one(http: httpx.Client) -> None:
    assert generate(http, id="42", max_tokens=1).json()["id"] == "42"
    assert "id" not in generate(http, id="", max_tokens=1).json()
    assert "id" not in generate(http, max_tokens=1).json()


def test_04_12_a_stream_has_an_event_per_piece_or_one(http: httpx.Client) -> None:
    pieces = events(generate_stream(http, stream=True, max_tokens=4, ignore_eos=True, return_num_output_tokens=True))
    assert sum(each["num_output_tokens"] for each in pieces) == 4
    (whole,) = events(generate_stream(http, stream=False, max_tokens=4, ignore_eos=True))
    assert whole["text_output"] == "hello" + "".join(each["text_output"] for each in pieces)
    (one,) = events(generate_stream(http, stream=True, max_tokens=1, ignore_eos=True))
    assert one["model_name"] == "demo"


@pytest.mark.parametrize("path", ["generate", "generate_stream"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{}", "expected number of inputs between 1 and"),
        ('{"text_input":123}', "attempt to access JSON non-string as string"),
        ('{"text_input":"a","stream":"false"}', "attempt to access JSON non-boolean as boolean"),
        ('{"text_input":"a","text_input":"b"}', "input 'text_input' already exists in request"),
        ('{"text_input":{"a":1}}', "attempt to access JSON non-string as string"),
        ('{"text_input":"a","temperature":{"a":1}}', "parameter 'temperature' has invalid type"),
        ('{"text_input":"a","parameters":1}', "Expected JSON object for keyword: 'parameters'"),
        (
            '{"text_input":"a","parameters":{"temperature":{"a":1}}}',
            "Converting keyword: 'parameters': parameter 'temperature' has invalid type",
        ),
    ],
)
def test_06_08_09_15_17_what_is_refused(http: httpx.Client, path: str, body: str, words: str) -> None:
    refused(http.post(f"{MODEL}/{path}", content=body), 400, words)


def test_10_an_error_is_the_last_event_and_has_a_status_before_the_first() -> None:
    flags = ("--engine", "scripted", "--served-model-name", "demo", "--fail-after", "2")
    with run_server(*flags) as failing, httpx.Client(base_url=failing.address, timeout=30) as http:
        answer = generate_stream(http, stream=True, max_tokens=9, ignore_eos=True)
        assert answer.status_code == 200
        piece = ["model_name", "model_version", "text_output"]
        assert [sorted(each) for each in events(answer)] == [piece, piece, ["error"]]
        refused(generate(http, max_tokens=9), 500, "failed after 2 tokens")
    with run_server(*flags[:-1], "0") as failing, httpx.Client(base_url=failing.address, timeout=30) as http:
        refused(generate_stream(http, stream=True, max_tokens=9), 500, "failed after 0 tokens")
        assert http.get("/v2/health/live").status_code == 200


def test_13_14_several_responses_are_for_streams(http: httpx.Client) -> None:
    refused(generate(http, stream=True, max_tokens=2), 400, "generate expects model to produce exactly 1 response")
    assert len(events(generate_stream(http, stream=True, max_tokens=2, ignore_eos=True))) >= 2


def test_16_a_client_that_leaves_does_no_harm(http: httpx.Client) -> None:
    body = {"text_input": "hello", "stream": True, "max_tokens": 30_000, "ignore_eos": True}
    with http.stream("POST", f"{MODEL}/generate_stream", json=body) as answer:
        next(answer.iter_lines())
    assert http.get("/v2/health/live").status_code == 200
    for _ in range(200):
        # There is room for one, so it is free again when the next one is let in.
        if (answer := generate(http, max_tokens=1)).status_code == 200:
            return
        time.sleep(0.05)
    raise AssertionError(answer.text)


def test_18_output_without_a_token_of_text() -> None:
    flags = (
        "--engine",
        "scripted",
        "--served-model-name",
        "demo",
        "--vocab-size",
        "6000",
        "--eos-token-id",
        "5508",
        "--script",
        "5508",
    )
    with run_server(*flags) as ending, httpx.Client(base_url=ending.address, timeout=30) as http:
        asked = {"exclude_input_in_output": True, "return_finish_reason": True}
        assert generate(http, **asked).json()["text_output"] == ""
        assert events(generate_stream(http, stream=True, return_finish_reason=True))[-1]["finish_reason"] == "stop"
        assert infer(http, [text()]).json()["outputs"][0]["data"] == ["hi"]


def test_19_27_the_limit_of_a_prompt(http: httpx.Client) -> None:
    for fields in ({"text_input": "x" * MAX_BODY}, {"text_input": "x" * 60_000, "stop": "y" * 60_000}):
        refused(generate(http, **fields), 400, f"exceeds the maximum allowed input size of {MAX_BODY}")
    assert generate(http, max_tokens=1).status_code == 200


def test_21_26_tensors_that_do_not_fit(http: httpx.Client) -> None:
    for tensor, words in (
        (text([]), "Failed to parse 'data' field: shape does not match true shape"),
        (text(["a", "b"]), "Unable to parse 'data': Shape does not match true shape of 'data' field"),
        (text(["a"], (16, 2**60 + 2)), "causes total element count to exceed maximum size of"),
        (text(["a"], (-1,)), "attempt to access JSON non-unsigned-integer as unsigned-integer"),
        (text(json.loads("[" * 120 + '"a"' + "]" * 120)), "JSON nesting depth exceeds maximum allowed limit (100)"),
    ):
        refused(infer(http, [tensor]), 400, words)
    assert infer(http, [text(json.loads("[" * 50 + '"a"' + "]" * 50))]).status_code == 200
    names = [{"name": "text_output"}, {"name": "text_output"}]
    refused(infer(http, [text()], outputs=names), 400, "output 'text_output' already exists in request")


def test_20_the_form_of_outputs(http: httpx.Client) -> None:
    length = "inference-header-content-length"
    plain = infer(http, [text()])
    assert plain.headers["content-type"] == JSON
    assert plain.json()["outputs"][0]["shape"] == [1]
    binary = infer(http, [text()], parameters={"max_tokens": 3, "binary_data_output": True})
    assert binary.headers["content-type"] == "application/octet-stream"
    header = json.loads(binary.content[: int(binary.headers[length])])
    blob = binary.content[int(binary.headers[length]) :]
    assert header["outputs"][0]["parameters"]["binary_data_size"] == len(blob)
    assert struct.unpack_from("<I", blob)[0] == len(blob) - 4
    asked = {"outputs": [{"name": "text_output"}], "parameters": {"max_tokens": 3, "binary_data_output": True}}
    assert "data" in infer(http, [text()], **asked).json()["outputs"][0]


def test_22_23_bodies_in_binary_form(http: httpx.Client) -> None:
    raw = http.post(f"{MODEL}/infer", content=b"427", headers={"Inference-Header-Content-Length": "0"})
    assert raw.headers["content-type"] == "application/octet-stream"
    blob = raw.content[int(raw.headers["inference-header-content-length"]) :]
    assert blob[4:].startswith(b"427")
    wrong = http.post(f"{MODEL}/infer", content=b"{}", headers={"Inference-Header-Content-Length": "99999999999"})
    assert wrong.status_code == 400
    assert http.get("/v2/health/live").status_code == 200


def test_25_monstrous_json_is_refused(http: httpx.Client) -> None:
    body = b'{"ready":' + b"[" * 40_000 + b"]" * 40_000 + b"}"
    refused(http.post("/v2/repository/index", content=body), 400, "")
    assert http.get("/v2/health/live").status_code == 200


def test_28_a_full_queue(http: httpx.Client) -> None:
    body = {"text_input": "hello", "stream": True, "max_tokens": 30_000, "ignore_eos": True}
    for _ in range(200):
        with http.stream("POST", f"{MODEL}/generate_stream", json=body) as running:
            if running.status_code != 200:
                time.sleep(0.05)
                continue
            # The generator is kept: the stream is closed with it.
            lines = running.iter_lines()
            next(lines)
            answer = generate(http)
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            return
    raise AssertionError("the request before is never over")


def test_31_there_is_no_base_path(http: httpx.Client) -> None:
    assert http.get("/base_path/v2/health/ready").status_code == 404
    refused(http.get("/v2/nothing/at/all"), 404, "/v2/nothing/at/all")
    assert http.delete("/v2/health/ready").status_code == 405


def test_32_infer_gives_all_pieces_in_one(http: httpx.Client) -> None:
    """The original refuses models that may give several responses."""
    (output,) = infer(http, [text()]).json()["outputs"]
    assert output["name"] == "text_output"


def test_34_35_the_prompt_and_the_counts(http: httpx.Client) -> None:
    assert generate(http, max_tokens=4).json()["text_output"].startswith("hello")
    assert not generate(http, max_tokens=4, exclude_input_in_output=True).json()["text_output"].startswith("hello")
    refused(
        generate_stream(http, stream=True, exclude_input_in_output=False),
        400,
        "When streaming, `exclude_input_in_output` = False is not allowed.",
    )
    asked = {"return_finish_reason": True, "return_num_output_tokens": True, "return_logprobs": True, "logprobs": 1}
    pieces = events(generate_stream(http, stream=True, ignore_eos=True, **asked))
    assert [each["finish_reason"] for each in pieces] == ["None"] * (len(pieces) - 1) + ["length"]
    # Absent, `max_tokens` is 16 as with the original's backend.
    assert sum(each["num_output_tokens"] for each in pieces) == 16
    for piece in pieces:
        entries = json.loads(piece["logprobs"])
        assert len(entries) == piece["num_output_tokens"]
        assert all(len(entry) <= 2 for entry in entries)


def test_37_an_engine_that_is_gone() -> None:
    with run_server("--served-model-name", "demo") as native, httpx.Client(base_url=native.address) as http:
        assert http.post("/v2/repository/index").json()[0]["state"] == "READY"
        kill_worker(native)
        for _ in range(200):
            (entry,) = http.post("/v2/repository/index").json()
            if entry["state"] == "UNAVAILABLE":
                break
            time.sleep(0.02)
        assert entry["reason"] == "the engine is not running"
        assert http.get(f"{MODEL}/ready").status_code == 503
        refused(generate(http), 503, "")


def test_38_39_metrics_and_statistics_are_exact() -> None:
    """`response_stats` stays empty: durations are kept of whole requests, and the log has those of each."""
    prompts = ("one", "two of them", "three of them now")
    with run_server("--engine", "scripted", "--served-model-name", "demo") as own:
        with httpx.Client(base_url=own.address, timeout=30) as http:
            for prompt in prompts * 2:
                assert generate(http, text_input=prompt, max_tokens=5, ignore_eos=True).status_code == 200
            asked = {"text_input": "hello", "max_tokens": 3, "return_num_input_tokens": True}
            counts = [
                generate(http, **{**asked, "text_input": prompt}).json()["num_input_tokens"] for prompt in prompts
            ]
            refused(generate(http, temperature=-1), 400, "temperature")
            page = http.get("/metrics").text
            (statistics,) = http.get(f"{MODEL}/stats").json()["model_stats"]
        families = text_string_to_metric_families(page)
        values = {each.name: each.value for family in families for each in family.samples if ":" in each.name}
        assert values["vllm:prompt_tokens_total"] == 3 * sum(counts)
        assert values["vllm:request_prompt_tokens_count"] == 9
        success = statistics["inference_stats"]["success"]
        assert (success["count"], statistics["inference_count"], statistics["execution_count"]) == (9, 9, 9)
        assert statistics["inference_stats"]["fail"]["count"] == 0
        parts = ("queue", "compute_input", "compute_infer", "compute_output")
        assert sum(statistics["inference_stats"][part]["ns"] for part in parts) <= success["ns"]
        assert statistics["response_stats"] == {}


def test_settings_of_logs_and_traces(http: httpx.Client) -> None:
    logs = http.get("/v2/logging").json()
    assert logs == {
        "log_file": "",
        "log_info": True,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": 0,
        "log_format": "default",
    }
    assert http.post("/v2/logging", json={"log_info": True, "log_file": None}).json() == logs
    refused(http.post("/v2/logging", json={"log_verbose_level": 1}), 501, "--log-level")
    refused(http.post("/v2/logging", json={"log_warnings": True}), 400, "Unknown setting: `log_warnings`")
    traces = http.get(f"{MODEL}/trace/setting").json()
    assert traces == http.get("/v2/trace/setting").json()
    assert traces["trace_level"] == ["OFF"]
    assert http.post("/v2/trace/setting", json={"trace_level": ["OFF"], "trace_rate": None}).json() == traces
    refused(http.post(f"{MODEL}/trace/setting", json={"trace_level": ["TIMESTAMPS"]}), 501, "requests are not traced")
    refused(http.get("/v2/models/other/trace/setting"), 404, "unknown model: 'other'")


def test_the_repository_has_no_name(http: httpx.Client) -> None:
    for path in ("index", "models/demo/load", "models/demo/unload"):
        answer = http.post(f"/v2/repository/mine/{path}")
        refused(answer, 501, "'repository_name' specification is not supported")
