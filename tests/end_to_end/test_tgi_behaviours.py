"""What TGI's own integration tests expect of a server, of the demo model.

The tests with a number are those of TGI's suites, in their order: 1 to 13 are generation, 28 the hub's client, 29 and
30 load and errors; 28 and 30 are in `test_tgi_clients`. 14 and 15 are constrained output; 16 to 24 are the OpenAI
routes, in `test_tgi_v1`. 25 is about adapters, of which there are none, 26 about long prompts, and 27 about
speculation.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import torch

from portico.checkpoint import DEMO_PATH
from tests.end_to_end.server import RunningServer, run_server

pytestmark = pytest.mark.xdist_group("demo")

PROMPT = "My name is Olivier and I"
Answer = dict[str, Any]


@pytest.fixture
def http(demo_server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=demo_server.address, timeout=60) as client:
        yield client


def generate(http: httpx.Client, inputs: str = PROMPT, path: str = "/generate", **parameters: Any) -> Any:
    answer = http.post(path, json={"inputs": inputs, "parameters": parameters})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(http: httpx.Client, path: str = "/generate", **parameters: Any) -> tuple[int, Answer]:
    answer = http.post(path, json={"inputs": PROMPT, "parameters": parameters})
    if answer.headers["content-type"].startswith("text/event-stream"):
        return answer.status_code, json.loads(answer.text.removeprefix("data: "))
    return answer.status_code, answer.json()


def events(http: httpx.Client, inputs: str = PROMPT, **parameters: Any) -> list[Answer]:
    answer = http.post("/generate_stream", json={"inputs": inputs, "parameters": parameters})
    assert answer.headers["content-type"] == "text/event-stream"
    blocks = answer.text.split("\n\n")
    assert blocks[-1] == ""
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-1]]


def test_01_greedy_output_of_a_length(http: httpx.Client) -> None:
    details = generate(http, max_new_tokens=4, decoder_input_details=True)["details"]
    assert (details["generated_tokens"], details["finish_reason"], details["seed"]) == (4, "length", None)
    assert len(details["tokens"]) == 4
    # As if TGI had been started with --enable-prefill-logprobs.
    assert details["prefill"][0]["logprob"] is None


def test_02_all_parameters_at_once(http: httpx.Client) -> None:
    answer = generate(
        http,
        max_new_tokens=20,
        repetition_penalty=1.2,
        return_full_text=True,
        stop=[" a"],
        temperature=0.5,
        top_p=0.9,
        top_k=10,
        truncate=5,
        typical_p=0.9,
        watermark=True,
        decoder_input_details=True,
        seed=0,
    )
    assert answer["generated_text"].startswith(PROMPT)
    assert answer["details"]["seed"] == 0
    assert len(answer["details"]["prefill"]) == 5
    if answer["details"]["finish_reason"] == "stop_sequence":
        assert answer["generated_text"].endswith(" a")


def test_03_a_seed_repeats_itself(http: httpx.Client) -> None:
    first, second = (generate(http, do_sample=True, temperature=2.0, seed=7, max_new_tokens=20) for _ in range(2))
    assert first == second


def test_04_05_many_at_once_are_the_same_as_one(http: httpx.Client) -> None:
    alone = generate(http, max_new_tokens=10, details=True)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: generate(http, max_new_tokens=10, details=True), range(4)))
    for answer in together:
        assert answer["generated_text"] == alone["generated_text"]


def test_06_the_end_of_sequence_counts_and_is_not_text(http: httpx.Client) -> None:
    details = (answer := generate(http, details=True, max_new_tokens=200))["details"]
    last = details["tokens"][-1]
    assert (details["finish_reason"], last["special"]) == ("eos_token", True)
    assert details["generated_tokens"] == len(details["tokens"])
    assert last["text"] not in answer["generated_text"]


def test_07_the_prompt_is_cut_from_the_left(http: httpx.Client) -> None:
    whole = generate(http, max_new_tokens=1, decoder_input_details=True)["details"]["prefill"]
    cut = generate(http, max_new_tokens=1, decoder_input_details=True, truncate=3)["details"]["prefill"]
    assert [token["id"] for token in cut] == [token["id"] for token in whole][-3:]
    assert cut[0]["logprob"] is None
    assert all(token["logprob"] < 0 for token in cut[1:])


def test_08_a_stream_of_one_token_is_one_event(http: httpx.Client) -> None:
    (event,) = events(http, max_new_tokens=1, details=True)
    assert event["generated_text"] == event["token"]["text"]
    assert event["details"] == {"finish_reason": "length", "generated_tokens": 1, "seed": None, "input_length": 6}


def test_09_the_best_of_two(http: httpx.Client) -> None:
    details = generate(http, best_of=2, do_sample=True, details=True, max_new_tokens=5)["details"]
    (other,) = details["best_of_sequences"]
    assert details["seed"] is not None
    assert other["seed"] != details["seed"]
    means = [sum(token["logprob"] for token in each["tokens"]) / len(each["tokens"]) for each in (details, other)]
    assert means == sorted(means, reverse=True)


def test_10_too_much_output_is_refused_in_both_ways(http: httpx.Client) -> None:
    long = "word " * 600
    for path, status in (("/generate", 422), ("/generate_stream", 200)):
        answer = http.post(path, json={"inputs": long, "parameters": {"max_new_tokens": 10_000}})
        error = json.loads(answer.text.removeprefix("data: "))
        assert (answer.status_code, error["error_type"]) == (status, "validation"), path
        assert "1024 `max_new_tokens`" in error["error"]
    # Only the first 1024 tokens are checked, so this fits.
    assert generate(http, max_new_tokens=10_000, details=True)["details"]["finish_reason"] == "eos_token"


def test_11_best_of_needs_sampling_and_no_seed_and_no_stream(http: httpx.Client) -> None:
    assert "must use sampling" in refusal(http, best_of=2)[1]["error"]
    assert "`seed` must not be set" in refusal(http, best_of=2, do_sample=True, seed=1)[1]["error"]
    status, error = refusal(http, "/generate_stream", best_of=2, do_sample=True)
    assert (status, error["error_type"]) == (200, "validation")


def test_12_ranges(http: httpx.Client) -> None:
    assert refusal(http, top_p=1.0)[0] == 422
    assert refusal(http, top_n_tokens=6)[0] == 422
    for fine in ({"top_p": 0.99}, {}, {"top_n_tokens": 5}, {"top_n_tokens": 0}):
        generate(http, max_new_tokens=1, **fine)


def test_13_prompt_and_output_over_the_context() -> None:
    with run_server("--engine", "scripted", "--max-total-tokens", "6") as server, httpx.Client() as client:
        body = {"inputs": "hi", "parameters": {"max_new_tokens": 10}}
        error = client.post(f"{server.address}/generate", json=body).json()["error"]
        assert "must be <= 6. Given: 1 `inputs` tokens and 10 `max_new_tokens`" in error
        assert client.get(f"{server.address}/info").json()["max_total_tokens"] == 6


IPV4 = r"((25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)\.){3}(25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"


def test_14_a_regular_expression(http: httpx.Client) -> None:
    prompt = "Q: What is the address of Google's DNS server? A: "
    grammar = {"type": "regex", "value": IPV4}
    whole = generate(http, prompt, grammar=grammar, max_new_tokens=40, details=True)
    assert re.fullmatch(IPV4, whole["generated_text"])
    assert whole["details"]["finish_reason"] == "eos_token"
    assert whole["generated_text"].startswith(
        generate(http, prompt, grammar=grammar, max_new_tokens=4)["generated_text"]
    )
    mail = {"type": "regex", "value": r"[a-z]{1,6}@[a-z]{1,6}\.com and [a-z]{1,6}"}
    stopped = generate(http, "My mail is ", grammar=mail, stop=[".com"], max_new_tokens=40, details=True)
    assert re.fullmatch(r"[a-z]{1,6}@[a-z]{1,6}\.com", stopped["generated_text"])
    assert stopped["details"]["finish_reason"] == "stop_sequence"


def test_05_15_json_from_a_schema_in_text(http: httpx.Client) -> None:
    schema = {
        "type": "object",
        "properties": {
            "activity": {"type": "string", "maxLength": 10},
            "seen": {"type": "integer", "minimum": 0, "maximum": 20},
        },
        "required": ["activity", "seen"],
        "additionalProperties": False,
    }
    asked: Answer = {"grammar": {"type": "json", "value": json.dumps(schema)}, "max_new_tokens": 100}
    alone = generate(http, "info: I saw a puppy. ", **asked)["generated_text"]
    found = json.loads(alone)
    assert found.keys() == {"activity", "seen"}
    assert 0 <= found["seen"] <= 20
    with ThreadPoolExecutor(4) as pool:
        together = list(
            pool.map(lambda _: generate(http, "info: I saw a puppy. ", **asked)["generated_text"], range(4))
        )
    assert together == [alone] * 4


def test_25_there_are_no_adapters(http: httpx.Client) -> None:
    assert generate(http, max_new_tokens=5, adapter_id="None") == generate(http, max_new_tokens=5)
    status, error = refusal(http, adapter_id="mine")
    assert (status, error["error_type"]) == (422, "validation")
    assert "no adapters are served" in error["error"]


def test_26_a_prompt_that_fills_the_context(http: httpx.Client) -> None:
    info = http.get("/info").json()
    long = "This is a nice place. " * 800
    answers = {
        generate(http, long, truncate=info["max_input_tokens"] - 20, max_new_tokens=16)["generated_text"]
        for _ in range(2)
    }
    assert len(answers) == 1
    assert answers.pop()
    status, error = refusal(http, truncate=info["max_input_tokens"] + 1)
    assert (status, "strictly positive and less than" in error["error"]) == (422, True)


def test_27_guesses_change_nothing_and_every_token_has_its_event(http: httpx.Client) -> None:
    repetitive = "one two three one two three one two three one two"
    asked: Answer = {"max_new_tokens": 24, "details": True}
    streamed = events(http, repetitive, **asked)
    assert [event["index"] for event in streamed] == list(range(1, len(streamed) + 1))
    assert streamed[-1]["details"]["generated_tokens"] == len(streamed)
    with run_server("--num-speculative-tokens", "0") as plain, httpx.Client(base_url=plain.address) as without:
        answer = generate(without, repetitive, **asked)
    assert answer["generated_text"] == streamed[-1]["generated_text"]
    assert [token["id"] for token in answer["details"]["tokens"]] == [event["token"]["id"] for event in streamed]


def test_29_answers_do_not_depend_on_the_order_of_arrival(http: httpx.Client) -> None:
    prompts = [f"{number} " * (1 + 40 * (number % 4)) + PROMPT for number in range(12)]
    alone = [generate(http, prompt, max_new_tokens=8)["generated_text"] for prompt in prompts]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda prompt: generate(http, prompt, max_new_tokens=8), reversed(prompts)))
    assert [each["generated_text"] for each in reversed(together)] == alone


def test_absent_parameters_draw_and_empty_ones_do_not(http: httpx.Client) -> None:
    body = {"inputs": "Tell me", "parameters": {}}
    greedy = {http.post("/generate", json=body).text for _ in range(3)}
    drawn = {http.post("/generate", json={"inputs": "Tell me"}).text for _ in range(8)}
    assert len(greedy) == 1
    assert len(drawn) > 1


def test_the_root_path_answers_with_an_array_and_the_prompt(http: httpx.Client) -> None:
    (answer,) = generate(http, path="/", max_new_tokens=3)
    assert answer["generated_text"].startswith(PROMPT)
    (answer,) = generate(http, path="/", max_new_tokens=3, return_full_text=False)
    assert not answer["generated_text"].startswith(PROMPT)
    assert generate(http, path="/invocations", max_new_tokens=3)[0]["generated_text"].startswith(PROMPT)


def test_headers(http: httpx.Client) -> None:
    answer = http.post("/generate", json={"inputs": "你好", "parameters": {"max_new_tokens": 2}})
    headers = answer.headers
    assert headers["x-compute-characters"] == "2"
    assert (headers["x-prompt-tokens"], headers["x-generated-tokens"]) == ("2", "2")
    for name in ("x-total-time", "x-validation-time", "x-queue-time", "x-inference-time", "x-time-per-token"):
        assert headers[name].isdigit(), name
    assert float(headers["x-compute-time"]) > 0
    streamed = http.post("/generate_stream", json={"inputs": "hi", "parameters": {"max_new_tokens": 1}})
    assert streamed.headers["x-accel-buffering"] == "no"
    assert streamed.headers["x-compute-type"] == headers["x-compute-type"]


def test_places_of_tokens_are_in_bytes(http: httpx.Client) -> None:
    text = "héllo 你好"
    tokens = http.post("/tokenize", json={"inputs": text}).json()
    encoded = text.encode()
    assert tokens[-1]["stop"] == len(encoded)
    for token in tokens:
        assert encoded[token["start"] : token["stop"]].decode() == token["text"]
    chat = http.post("/chat_tokenize", json={"messages": [{"role": "user", "content": text}]}).json()
    assert text in chat["templated_text"]
    # Tokens that are parts of one character all have the whole of it.
    texts = {(token["start"], token["stop"]): token["text"] for token in chat["tokenize_response"]}
    assert "".join(texts.values()) == chat["templated_text"]


def test_bodies_that_do_not_fit_the_schema_are_refused_in_plain_text(http: httpx.Client) -> None:
    for body, status in (("{", 400), ('{"inputs":1}', 422), ('{"inputs":"hi","parameters":{"seed":-1}}', 422)):
        answer = http.post("/generate_stream", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/plain")


def test_the_watermark_is_found(http: httpx.Client) -> None:
    """The z-test of Kirchenbauer et al. (arXiv 2301.10226, section 3): how far green tokens exceed their share."""

    def score(**parameters: Any) -> float:
        parameters |= {"do_sample": True, "temperature": 1.5, "ignore_eos": True, "max_new_tokens": 200, "seed": 5}
        details = generate(http, decoder_input_details=True, **parameters)["details"]
        ids = [details["prefill"][-1]["id"], *(token["id"] for token in details["tokens"])]
        num_green = sum(_is_green(before, after) for before, after in itertools.pairwise(ids))
        num_tokens = len(ids) - 1
        return (num_green - 0.5 * num_tokens) / math.sqrt(num_tokens * 0.25)

    assert score(watermark=True) > 4 > score(watermark=False)


def _is_green(previous_id: int, token_id: int) -> bool:
    """Drawn as TGI's detector does it, without any code of the server's."""
    vocab_size = json.loads((DEMO_PATH / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    generator = torch.Generator().manual_seed(15485863 * previous_id)
    return token_id in torch.randperm(vocab_size, generator=generator)[: vocab_size // 2]


def test_the_metrics_have_tgis_names(http: httpx.Client) -> None:
    generate(http, max_new_tokens=2)
    refusal(http, temperature=0)
    metrics = http.get("/metrics").text
    for name in ("tgi_request_count ", "tgi_queue_size ", "tgi_batch_current_size ", "tgi_request_duration_bucket"):
        assert f"\n{name}" in metrics, name
    assert 'tgi_request_failure{err="validation"}' in metrics
