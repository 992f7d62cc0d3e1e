"""What vLLM's users rely on, on a started server; the numbers are those of the list that it was taken from."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from portico.checkpoint import DEMO_PATH
from portico.text.tokenizer import Tokenizer
from tests.end_to_end.server import RunningServer, run_server

pytestmark = pytest.mark.xdist_group("demo")

PROMPT = "My name is Olivier and I"
SCRIPTED = ("--engine", "scripted", "--token-delay", "0.02")
JSON = {"Content-Type": "application/json"}
USER = [{"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(DEMO_PATH)


@pytest.fixture(scope="module")
def site(demo_server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=demo_server.address, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def slow_site() -> Iterator[httpx.Client]:
    """A server that takes its time for each token, and trusts its clients' templates."""
    with (
        run_server(*SCRIPTED, "--trust-request-chat-template", "--enable-tokenizer-info-endpoint") as server,
        httpx.Client(base_url=server.address, timeout=60) as client,
    ):
        yield client


def post(site: httpx.Client, path: str, status: int = 200, **body: Any) -> Any:
    answer = site.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def complete(site: httpx.Client, status: int = 200, **body: Any) -> Any:
    return post(site, "/v1/completions", status, **{"prompt": PROMPT, "temperature": 0, **body})


def chat(site: httpx.Client, status: int = 200, **body: Any) -> Any:
    return post(site, "/v1/chat/completions", status, **{"messages": USER, "temperature": 0, **body})


def stream(site: httpx.Client, path: str, **body: Any) -> list[Any]:
    answer = site.post(path, json={"stream": True, "temperature": 0, **body})
    assert answer.status_code == 200, answer.text
    *events, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def load(site: httpx.Client) -> int:
    return int(site.get("/load").json()["server_load"])


def test_1_a_single_completion(site: httpx.Client, tokenizer: Tokenizer) -> None:
    answer = complete(site, max_tokens=5, ignore_eos=True)
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "length"
    assert "prompt_logprobs" not in choice
    num_prompt_tokens = len(tokenizer.encode(PROMPT, add_special_tokens=True))
    assert answer["usage"]["prompt_tokens"] == num_prompt_tokens
    assert answer["usage"]["total_tokens"] == num_prompt_tokens + 5


def test_2_and_9_prompts_as_ids_and_in_batches(site: httpx.Client, tokenizer: Tokenizer) -> None:
    ids = list(tokenizer.encode(PROMPT, add_special_tokens=True))
    alone = complete(site, max_tokens=6)["choices"][0]["text"]
    for prompts in ([PROMPT, PROMPT], [ids, ids]):
        choices = complete(site, prompt=prompts, max_tokens=6)["choices"]
        assert [(choice["index"], choice["text"]) for choice in choices] == [(0, alone), (1, alone)]
    assert "no beam search" in complete(site, 400, use_beam_search=True)["error"]["message"]


@pytest.mark.parametrize(("side", "kept"), [("left", slice(-4, None)), ("right", slice(4)), (None, slice(-4, None))])
def test_3_truncation_from_either_side(site: httpx.Client, tokenizer: Tokenizer, side: str | None, kept: slice) -> None:
    ids = list(tokenizer.encode(PROMPT, add_special_tokens=True))
    answer = complete(site, truncate_prompt_tokens=4, truncation_side=side, return_token_ids=True, max_tokens=1)
    assert answer["choices"][0]["prompt_token_ids"] == ids[kept]
    assert complete(site, truncate_prompt_tokens=-1, max_tokens=1)["usage"]["prompt_tokens"] == len(ids)


def test_4_logprobs_of_completions(site: httpx.Client) -> None:
    assert complete(site, max_tokens=5)["choices"][0]["logprobs"] is None
    for num_best in (0, 5):
        logprobs = complete(site, max_tokens=5, logprobs=num_best)["choices"][0]["logprobs"]
        assert all(max(num_best, 1) <= len(top) <= num_best + 1 for top in logprobs["top_logprobs"])
    complete(site, 400, logprobs=21)
    complete(site, 400, logprobs=30, stream=True)
    complete(site, max_tokens=1)


def test_5_logprobs_of_prompts(site: httpx.Client) -> None:
    for num_best in (0, 1):
        first, *rest = complete(site, max_tokens=5, prompt_logprobs=num_best)["choices"][0]["prompt_logprobs"]
        assert first is None
        assert all(1 <= len(place) <= num_best + 1 for place in rest)
        assert all({"logprob", "rank", "decoded_token"} == entry.keys() for place in rest for entry in place.values())
        assert all(min(entry["rank"] for entry in place.values()) == 1 for place in rest if num_best)
    ranks = [
        # The token of the prompt stands before the most likely ones.
        [next(iter(place.values()))["rank"] for place in choice["prompt_logprobs"][1:]]
        for num_best in (0, 20)
        for choice in complete(site, max_tokens=1, prompt_logprobs=num_best)["choices"]
    ]
    assert ranks[0] == ranks[1]
    assert all(1 <= rank < 10**6 for rank in ranks[0])
    assert "prompt_logprobs" in chat(site, max_tokens=1, prompt_logprobs=1)
    complete(site, 400, prompt_logprobs=-1)
    complete(site, 400, prompt_logprobs=1, stream=True)


def test_6_and_16_a_stream_is_the_whole_text(site: httpx.Client) -> None:
    events = stream(site, "/v1/completions", prompt=PROMPT, max_tokens=12)
    whole = complete(site, max_tokens=12)["choices"][0]
    assert "".join(event["choices"][0]["text"] for event in events) == whole["text"]
    reasons = [event["choices"][0]["finish_reason"] for event in events]
    assert (reasons[-1], set(reasons[:-1])) == (whole["finish_reason"], {None})
    events = stream(site, "/v1/chat/completions", messages=USER, max_tokens=12)
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert text == chat(site, max_tokens=12)["choices"][0]["message"]["content"]


def test_7_parallel_choices(site: httpx.Client) -> None:
    asked: dict[str, Any] = {
        "n": 3,
        "temperature": 1.0,
        "seed": 42,
        "max_tokens": 10,
        "ignore_eos": True,
        "prompt": PROMPT,
    }
    choices = complete(site, **asked)["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert len({choice["text"] for choice in choices}) > 1
    events = stream(site, "/v1/completions", **asked)
    texts = dict.fromkeys(range(3), "")
    for event in events:
        texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert list(texts.values()) == [choice["text"] for choice in choices]
    assert sum(event["choices"][0]["finish_reason"] is not None for event in events) == 3


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_8_and_17_usage_in_streams(site: httpx.Client, path: str) -> None:
    asked: dict[str, Any] = {"prompt": PROMPT} if path == "/v1/completions" else {"messages": USER}
    asked |= {"max_tokens": 5, "ignore_eos": True}
    for continuous in (False, True):
        options = {"include_usage": False, "continuous_usage_stats": continuous}
        assert all("usage" not in event for event in stream(site, path, **asked, stream_options=options))
    *events, last = stream(site, path, **asked, stream_options={"include_usage": True})
    assert all(event["usage"] is None for event in events)
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 5)
    options = {"include_usage": True, "continuous_usage_stats": True}
    counts = [event["usage"]["completion_tokens"] for event in stream(site, path, **asked, stream_options=options)]
    assert counts == sorted(counts)
    assert counts[-1] == 5
    post(site, path, 400, **asked, stream=False, stream_options={"include_usage": True})


def test_10_echo_with_logprobs(site: httpx.Client) -> None:
    for max_tokens in (0, 3):
        choice = complete(site, echo=True, logprobs=1, max_tokens=max_tokens)["choices"][0]
        assert choice["text"].startswith(PROMPT)
        assert choice["logprobs"]["token_logprobs"][0] is None
        assert choice["logprobs"]["top_logprobs"][0] is None
        assert None not in choice["logprobs"]["token_logprobs"][1:]


def test_12_empty_and_strange_prompts(site: httpx.Client) -> None:
    prompts: list[Any] = [None, "", []]
    for prompt in prompts:
        complete(site, 400, prompt=prompt)
    assert "out of vocabulary" in complete(site, 400, prompt=[999999])["error"]["message"]


def test_13_text_offsets_of_a_stream_are_those_of_the_whole(site: httpx.Client) -> None:
    asked: dict[str, Any] = {"prompt": PROMPT, "max_tokens": 8, "logprobs": 0, "stop": ["no such end"]}
    whole = complete(site, **asked)["choices"][0]["logprobs"]["text_offset"]
    events = stream(site, "/v1/completions", **asked)
    streamed = [each for event in events for each in (event["choices"][0]["logprobs"] or {}).get("text_offset", ())]
    assert streamed == whole


def test_14_logprobs_of_chats(site: httpx.Client) -> None:
    for num_best in (0, 5):
        content = chat(site, max_tokens=3, logprobs=True, top_logprobs=num_best)["choices"][0]["logprobs"]["content"]
        assert [len(entry["top_logprobs"]) for entry in content] == [num_best] * len(content)
    chat(site, 400, logprobs=True, top_logprobs=21)


def test_20_messages_with_more_than_they_need(site: httpx.Client) -> None:
    plain = chat(site, max_tokens=8)["choices"][0]["message"]["content"]
    for message in (
        {"role": "user", "content": "Hello!", "extra": 1},
        {"role": "user", "content": [{"type": "text", "text": "Hello!"}]},
    ):
        assert chat(site, messages=[message], max_tokens=8)["choices"][0]["message"]["content"] == plain


def test_21_to_25_refusals(site: httpx.Client) -> None:
    for seed in (2**63, -(2**63) - 1):
        chat(site, 400, seed=seed)
    chat(site, max_tokens=1, logit_bias={"100": 1.5})
    for bias in ({"999999": 1}, {"word": 1}, {"5": "much"}):
        assert "logit_bias" in json.dumps(chat(site, 400, logit_bias=bias))
    for body in ('"text"', "[1]", "7", "null"):
        for path in ("/v1/chat/completions", "/v1/completions", "/generate", "/tokenize", "/detokenize"):
            # On a path that several wires share one of them refuses, by its own status.
            assert site.post(path, content=body, headers=JSON).status_code in (400, 422)


def test_22_invocations(site: httpx.Client) -> None:
    asked: dict[str, Any] = {"messages": USER, "temperature": 0, "max_tokens": 8}
    assert post(site, "/invocations", **asked)["choices"] == chat(site, **asked)["choices"]
    answer = post(site, "/invocations", prompt=PROMPT, temperature=0, max_tokens=8)
    assert answer["choices"] == complete(site, max_tokens=8)["choices"]


def test_24_echo_and_continuation(site: httpx.Client) -> None:
    messages = [*USER, {"role": "assistant", "content": "Hello"}]
    asked: dict[str, Any] = {
        "messages": messages,
        "continue_final_message": True,
        "add_generation_prompt": False,
        "max_tokens": 4,
    }
    plain = chat(site, **asked)["choices"][0]["message"]["content"]
    assert chat(site, **asked, echo=True)["choices"][0]["message"]["content"] == "Hello" + plain
    chat(site, 400, messages=messages, continue_final_message=True)


def test_28_the_server_itself(site: httpx.Client, slow_site: httpx.Client) -> None:
    assert set(site.get("/version").json()) == {"version"}
    for answer in (site.get("/health"), site.get("/ping"), site.post("/ping")):
        assert (answer.status_code, answer.content) == (200, b"")
    assert load(slow_site) == 0
    asked = {"prompt": PROMPT, "max_tokens": 500, "stream": True, "ignore_eos": True}
    with slow_site.stream("POST", "/v1/completions", json=asked) as sent:
        # Kept, since an iterator that is dropped closes the connection.
        chunks = sent.iter_bytes()
        next(chunks)
        assert load(slow_site) == 1
    deadline = time.monotonic() + 5
    while load(slow_site) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert load(slow_site) == 0


def test_30_tokens_of_texts_and_chats(site: httpx.Client, slow_site: httpx.Client, tokenizer: Tokenizer) -> None:
    text = "héllo 你好 <|im_end|>"
    for add_special_tokens in (True, False):
        answer = post(site, "/tokenize", prompt=text, add_special_tokens=add_special_tokens, return_token_strs=True)
        assert answer["tokens"] == list(tokenizer.encode(text, add_special_tokens))
        assert answer["count"] == len(answer["token_strs"]) == len(answer["tokens"])
    assert post(site, "/detokenize", tokens=answer["tokens"]) == {"prompt": text}
    whole = post(site, "/tokenize", messages=USER)
    assert whole["token_strs"] is None
    assert whole["count"] == chat(site, max_tokens=1)["usage"]["prompt_tokens"]
    without = post(site, "/tokenize", messages=USER, add_generation_prompt=False)
    assert whole["tokens"][: without["count"]] == without["tokens"]
    assert site.get("/v1/models").json()["data"][0]["max_model_len"] == whole["max_model_len"]
    post(site, "/tokenize", 404, prompt="x", model="other")
    post(site, "/detokenize", 400, tokens=[10**9])
    template: dict[str, Any] = {"messages": USER, "chat_template": "{{ messages[0].content }}"}
    assert "--trust-request-chat-template" in post(site, "/tokenize", 400, **template)["error"]["message"]
    assert post(slow_site, "/tokenize", **template)["tokens"] == list(tokenizer.encode("Hello!", False))


def test_31_metrics_by_the_names_of_dashboards() -> None:
    with run_server("--engine", "scripted") as server, httpx.Client(base_url=server.address) as site:
        for _ in range(10):
            complete(site, prompt=[1, 2, 3], max_tokens=4, ignore_eos=True)
        deadline = time.monotonic() + 5
        values: dict[str, float] = {}
        # A request is counted when its answer is sent, which its client may know first.
        while values.get("vllm:request_success_total") != 10 and time.monotonic() < deadline:
            families = text_string_to_metric_families(site.get("/metrics").text)
            values = {each.name: each.value for family in families for each in family.samples if ":" in each.name}
    assert values["vllm:prompt_tokens_total"] == 30
    assert values["vllm:generation_tokens_total"] == 40
    assert values["vllm:request_success_total"] == 10
    assert values["vllm:prefix_cache_queries_total"] == 30
    assert values["vllm:prefix_cache_hits_total"] == values["vllm:prompt_tokens_cached_total"]
    lengths = ("request_prompt_tokens", "request_generation_tokens", "request_max_num_generation_tokens")
    sums = {"request_params_max_tokens": 40, "request_params_n": 10, **dict(zip(lengths, (30, 40, 40), strict=True))}
    assert {name: values[f"vllm:{name}_sum"] for name in sums} == sums
    phases = tuple(f"request_{phase}_time" for phase in ("queue", "prefill", "decode", "inference"))
    for name in ("time_to_first_token", "e2e_request_latency", "request_time_per_output_token", *phases):
        assert values[f"vllm:{name}_seconds_count"] == 10
    assert values["vllm:inter_token_latency_seconds_count"] == 30
    assert values["vllm:num_requests_running"] == values["vllm:num_requests_waiting"] == 0
    assert values["vllm:kv_cache_usage_perc"] == 0


def test_33_token_ids(site: httpx.Client, tokenizer: Tokenizer) -> None:
    answer = chat(site, max_tokens=6, return_token_ids=True, logprobs=True, return_tokens_as_token_ids=True)
    (choice,) = answer["choices"]
    assert answer["prompt_token_ids"] == post(site, "/tokenize", messages=USER)["tokens"]
    assert tokenizer.decode(tuple(choice["token_ids"]), True) == choice["message"]["content"]
    names = [entry["token"] for entry in choice["logprobs"]["content"]]
    assert names == [f"token_id:{each}" for each in choice["token_ids"]]
    events = stream(site, "/v1/chat/completions", messages=USER, max_tokens=6, return_token_ids=True)
    assert events[0]["prompt_token_ids"] == answer["prompt_token_ids"]
    assert [each for event in events for each in event["choices"][0].get("token_ids", ())] == choice["token_ids"]


def test_37_why_a_choice_stopped(site: httpx.Client) -> None:
    free = complete(site, max_tokens=12, ignore_eos=True, return_token_ids=True)["choices"][0]
    assert (free["finish_reason"], free["stop_reason"]) == ("length", None)
    end = free["text"][4:8]
    stopped = complete(site, max_tokens=12, ignore_eos=True, stop=[end])["choices"][0]
    assert (stopped["finish_reason"], stopped["stop_reason"]) == ("stop", end)
    assert stopped["text"] == free["text"][: free["text"].index(end)]
    included = complete(site, max_tokens=12, stop=[end], include_stop_str_in_output=True)["choices"][0]
    assert included["text"] == stopped["text"] + end
    token_id = free["token_ids"][3]
    by_id = complete(site, max_tokens=12, ignore_eos=True, stop_token_ids=[token_id])["choices"][0]
    assert (by_id["finish_reason"], by_id["stop_reason"]) == ("stop", token_id)


def test_38_what_is_drawn(site: httpx.Client, tokenizer: Tokenizer) -> None:
    usage = complete(site, max_tokens=40, ignore_eos=True)["usage"]
    assert usage["completion_tokens"] == 40
    asked: dict[str, Any] = {"temperature": 1.0, "seed": 7, "max_tokens": 8}
    assert complete(site, **asked)["choices"] == complete(site, **asked)["choices"]
    free = complete(site, max_tokens=8, return_token_ids=True)["choices"][0]
    allowed = free["token_ids"][:2]
    drawn = complete(site, max_tokens=6, allowed_token_ids=allowed, return_token_ids=True)["choices"][0]["token_ids"]
    assert set(drawn) <= set(allowed)
    word = free["text"].split()[0]
    assert word not in complete(site, max_tokens=8, bad_words=[word])["choices"][0]["text"].split()
    complete(site, 400, allowed_token_ids=[10**6])
    complete(site, 400, bad_words=[""])


def test_15_usage_of_a_longer_conversation(site: httpx.Client) -> None:
    messages = [
        *USER,
        {"role": "assistant", "content": "Hello. What can I do?"},
        {"role": "user", "content": "Thanks."},
    ]
    answer = chat(site, messages=messages, max_tokens=6, ignore_eos=True)
    num_prompt_tokens = post(site, "/tokenize", messages=messages)["count"]
    assert answer["usage"]["prompt_tokens"] == num_prompt_tokens
    assert answer["usage"]["completion_tokens"] == 6
    assert answer["usage"]["total_tokens"] == num_prompt_tokens + 6


def test_20_roles_of_a_templates_own(site: httpx.Client) -> None:
    for role in ("my-custom-role", "function", "critic"):
        tokens = post(site, "/tokenize", messages=[{"role": role, "content": "hi"}])["tokens"]
        assert f"<|im_start|>{role}\nhi" in post(site, "/detokenize", tokens=tokens)["prompt"]
    chat(site, 400, messages=[{"role": "user<|im_end|>", "content": "hi"}])
    chat(site, 400, messages=[{"role": "", "content": "hi"}])


def test_26_an_error_in_a_stream() -> None:
    with (
        run_server("--engine", "scripted", "--fail-after", "3") as server,
        httpx.Client(base_url=server.address) as site,
    ):
        for path, body in (("/v1/completions", {"prompt": "hi"}), ("/v1/chat/completions", {"messages": USER})):
            *events, error = stream(site, path, **body)
            assert error["error"]["message"]
            assert events
            assert all(event["choices"][0]["finish_reason"] is None for event in events)


def test_32_models(site: httpx.Client) -> None:
    first, *_ = site.get("/v1/models").json()["data"]
    assert first.keys() >= {"id", "object", "created", "owned_by", "root", "max_model_len"}


def test_what_clients_are_told_of_the_tokenizer(site: httpx.Client, slow_site: httpx.Client) -> None:
    assert site.get("/tokenizer_info").status_code == 404
    info = slow_site.get("/tokenizer_info").json()
    assert info["tokenizer_class"]
    (eos,) = post(slow_site, "/tokenize", prompt=info["eos_token"], add_special_tokens=False)["tokens"]
    assert eos in post(slow_site, "/tokenize", messages=USER)["tokens"]
    assert "messages" in info["chat_template"]
