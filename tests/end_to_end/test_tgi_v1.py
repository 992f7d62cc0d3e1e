"""TGI's OpenAI routes, which are its own with `--profile tgi`: what its tests expect of them, and its clients.

Numbers are those of `test_tgi_behaviours`: 16 to 18 are constrained output, 19 and 20 completions, 21 to 24 chats.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
import text_generation
import text_generation.types
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.end_to_end.server import RunningServer, run_server
from tests.end_to_end.spelling import TEMPLATE, run_writer

pytestmark = pytest.mark.xdist_group("tgi_v1")

HELLO: Any = [{"role": "user", "content": "Hello!"}]
SCHEMA = {
    "type": "object",
    "properties": {
        "unit": {"enum": ["fahrenheit", "celsius"]},
        "degrees": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["unit", "degrees"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"enum": ["Ulm", "Bonn"]}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with run_server("--profile", "tgi", "--served-model-name", "demo") as started:
        yield started


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=60) as client:
        yield client


@pytest.fixture
def hub(server: RunningServer) -> InferenceClient:
    os.environ["HF_HUB_OFFLINE"] = "1"
    return InferenceClient(server.address, timeout=60)


def chat(http: httpx.Client, **fields: Any) -> httpx.Response:
    body = {"messages": HELLO, "temperature": 0, "max_tokens": 8, **fields}
    return http.post("/v1/chat/completions", json=body)


def chunks(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"] == "text/event-stream"
    blocks = answer.text.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]


def test_the_shape_of_an_answer(http: httpx.Client) -> None:
    answer = chat(http, model="dummy").json()
    assert list(answer) == ["object", "id", "created", "model", "system_fingerprint", "choices", "usage"]
    assert (answer["id"], answer["model"]) == ("", "dummy")
    assert answer["system_fingerprint"].endswith("-native")
    (choice,) = answer["choices"]
    assert (choice["message"]["role"], choice["logprobs"]) == ("assistant", None)
    for name in ("tgi", None):
        assert chat(http, model=name).json()["model"] == "demo"
    assert http.get("/v1/models").json()["data"][0]["owned_by"] == "demo"


def test_how_an_answer_ends(http: httpx.Client) -> None:
    whole = chat(http, max_tokens=200).json()["choices"][0]
    assert whole["finish_reason"] == "stop"
    cut = chat(http, max_tokens=2).json()["choices"][0]
    assert cut["finish_reason"] == "length"
    stop = cut["message"]["content"][-1]
    ended = chat(http, max_tokens=200, stop=[stop]).json()["choices"][0]
    assert ended["finish_reason"] == "stop_sequence"
    assert ended["message"]["content"].endswith(stop)


def test_logprobs_are_limited_as_top_n_tokens(http: httpx.Client) -> None:
    (choice,) = chat(http, max_tokens=3, logprobs=True, top_logprobs=5).json()["choices"]
    assert [len(each["top_logprobs"]) for each in choice["logprobs"]["content"]] == [5, 5, 5]
    for each in choice["logprobs"]["content"]:
        assert each["top_logprobs"][0] == {"token": each["token"], "logprob": each["logprob"]}
    refused = chat(http, logprobs=True, top_logprobs=6)
    assert refused.status_code == 422
    assert refused.json() == {
        "error": "Input validation error: `top_n_tokens` must be >= 0 and <= 5. Given: 6",
        "error_type": "validation",
    }


def test_errors_of_streams_are_chunks_under_status_200(http: httpx.Client) -> None:
    refused = chat(http, temperature=-1, stream=True)
    assert refused.status_code == 200
    (chunk,) = chunks(refused)
    assert chunk["error"]["http_status_code"] == 422
    assert "strictly positive" in chunk["error"]["message"]
    # What is found out before a stream begins has its status.
    for body in ({"messages": "hello", "stream": True}, {"messages": HELLO, "stream": "yes"}):
        assert http.post("/v1/chat/completions", json=body).status_code == 422
    assert http.post("/v1/completions", json={"prompt": "a", "suffix": "b", "stream": True}).status_code == 422


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_object", "value": SCHEMA},
        {"type": "json", "value": json.dumps(SCHEMA)},
        {"type": "json_schema", "value": {"name": "temperature", "schema": SCHEMA}},
        {"type": "json_schema", "json_schema": {"name": "temperature", "schema": SCHEMA}},
        {"type": "json_object", "schema": SCHEMA},
    ],
)
def test_16_18_every_way_to_ask_for_json(http: httpx.Client, form: dict[str, Any]) -> None:
    whole = chat(http, response_format=form, max_tokens=60).json()["choices"][0]["message"]["content"]
    found = json.loads(whole)
    assert found.keys() == {"unit", "degrees"}
    assert found["degrees"] >= 0
    streamed = chunks(chat(http, response_format=form, max_tokens=60, stream=True))
    assert "".join(each["choices"][0]["delta"]["content"] for each in streamed) == whole


def test_16_a_regular_expression(http: httpx.Client) -> None:
    form = {"type": "regex", "value": "(red|blue) [0-9]{2}"}
    text = chat(http, response_format=form, max_tokens=60).json()["choices"][0]["message"]["content"]
    assert text.split()[0] in ("red", "blue")


def test_17_tools_and_a_form_exclude_each_other(http: httpx.Client) -> None:
    refused = chat(http, response_format={"type": "json", "value": SCHEMA}, tools=[])
    assert refused.status_code == 422
    assert refused.json() == {
        "error": "Tool error: Grammar and tools are mutually exclusive",
        "error_type": "tool_error",
    }


def test_19_a_completion(http: httpx.Client) -> None:
    body = {"prompt": "My name is Olivier and I", "temperature": 0, "max_tokens": 6}
    answer = http.post("/v1/completions", json=body).json()
    assert (answer["object"], answer["id"], answer["model"]) == ("text_completion", "", "demo")
    (choice,) = answer["choices"]
    assert (choice["logprobs"], choice["finish_reason"]) == (None, "length")
    assert answer["usage"] == {"prompt_tokens": 6, "completion_tokens": 6, "total_tokens": 12}


def test_20_four_prompts(server: RunningServer, http: httpx.Client) -> None:
    prompts = ["Say", "this", "is", "a"]
    body = {"prompt": prompts, "temperature": 0, "max_tokens": 6}
    whole = http.post("/v1/completions", json=body).json()
    alone = [
        http.post("/v1/completions", json={**body, "prompt": prompt}).json()["choices"][0]["text"] for prompt in prompts
    ]
    assert {each["index"]: each["text"] for each in whole["choices"]} == dict(enumerate(alone))
    client = openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)
    texts, ends = dict.fromkeys(range(4), ""), {}
    stream = client.completions.create(model="tgi", prompt=prompts, temperature=0, max_tokens=6, stream=True)
    for chunk in map(openai.types.Completion.model_dump, stream):
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["text"]
        assert bool(choice["finish_reason"]) is bool(chunk["usage"])
        if choice["finish_reason"]:
            ends[choice["index"]] = choice["finish_reason"]
    assert texts == dict(enumerate(alone))
    assert ends.keys() == {0, 1, 2, 3}
    assert set(ends.values()) <= {"length", "eos_token"}
    refused = http.post("/v1/completions", json={**body, "prompt": ["a"] * 5})
    assert (refused.status_code, refused.json()["error_type"]) == (422, "batch size exceeded")


def test_21_usage_of_streams(http: httpx.Client) -> None:
    plain = chunks(chat(http, stream=True))
    assert all(each["usage"] is None and len(each["choices"]) == 1 for each in plain)
    assert all(each["choices"][0]["delta"]["role"] == "assistant" for each in plain)
    assert [each["choices"][0]["finish_reason"] for each in plain[:-1]] == [None] * (len(plain) - 1)
    assert plain[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    *counted, last = chunks(chat(http, stream=True, stream_options={"include_usage": True}))
    assert last["choices"] == []
    assert last["usage"] == chat(http).json()["usage"]
    assert [each["choices"] for each in counted] == [each["choices"] for each in plain]


def test_22_a_last_message_of_the_assistant_is_continued(http: httpx.Client) -> None:
    messages = [*HELLO, {"role": "assistant", "content": "I am"}]
    spoken = {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}
    prompt = http.post("/chat_tokenize", json=spoken).json()["templated_text"]
    assert prompt.endswith("I am")
    expected = http.post("/generate", json={"inputs": prompt, "parameters": {"max_new_tokens": 8}}).json()
    answer = chat(http, messages=messages).json()["choices"][0]["message"]["content"]
    assert answer == expected["generated_text"]


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A model that always writes the same: a sentence and two calls."""
    calls = "".join(
        f'<tool_call>\n{{"name": "weather", "arguments": {{"city": "{city}"}}}}\n</tool_call>\n'
        for city in ("Ulm", "Bonn")
    )
    with run_writer(tmp_path_factory.mktemp("tgi"), calls, "--profile", "tgi") as started:
        yield started


def test_23_calls_of_tools(writer: RunningServer) -> None:
    with httpx.Client(base_url=writer.address, timeout=60) as http:
        answer = chat(http, tools=TOOLS, max_tokens=200).json()["choices"][0]
        assert (answer["finish_reason"], answer["message"]["content"]) == ("stop", None)
        described: list[dict[str, Any]] = [
            {
                "id": str(number),
                "type": "function",
                "function": {"description": None, "name": "weather", "arguments": json.dumps({"city": city})},
            }
            for number, city in enumerate(("Ulm", "Bonn"))
        ]
        assert answer["message"]["tool_calls"] == described
        streamed = chunks(chat(http, tools=TOOLS, max_tokens=200, stream=True))
        found = [call for each in streamed for call in each["choices"][0]["delta"].get("tool_calls", ())]
        for call in described:
            pieces = [each["function"] for each in found if each["id"] == call["id"]]
            assert [each["name"] for each in pieces] == ["weather"] + [None] * (len(pieces) - 1)
            assert "".join(each["arguments"] for each in pieces) == call["function"]["arguments"]
        as_text = chat(http, tools=TOOLS, tool_choice="none", max_tokens=200).json()["choices"][0]["message"]
        assert "tool_calls" not in as_text
        assert as_text["content"].startswith("<tool_call>")
        earlier = [
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": described},
            {"role": "tool", "tool_call_id": "0", "content": "sun"},
        ]
        again = chat(http, messages=earlier, tools=TOOLS, max_tokens=200).json()["choices"][0]["message"]
        assert [call["id"] for call in again["tool_calls"]] == ["2", "3"]
        unknown = chat(http, tools=TOOLS, tool_choice="nothing")
        assert (unknown.status_code, unknown.json()["error_type"]) == (422, "tool_error")


def test_23_forced_calls(tmp_path_factory: pytest.TempPathFactory) -> None:
    template = tmp_path_factory.mktemp("template") / "template.jinja"
    template.write_text(TEMPLATE, encoding="utf-8")
    by_object = {"type": "function", "function": {"name": "weather"}}
    flags = ("--profile", "tgi", "--chat-template", str(template))
    with run_server(*flags) as started, httpx.Client(base_url=started.address, timeout=60) as http:
        for choice in ("required", "weather", by_object):
            message = chat(http, tools=TOOLS, tool_choice=choice, max_tokens=100).json()["choices"][0]["message"]
            (call,) = message["tool_calls"]
            assert json.loads(call["function"]["arguments"])["city"] in ("Ulm", "Bonn")


def test_24_the_result_of_a_tool_is_read(writer: RunningServer) -> None:
    call = {"id": "0", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
    messages = [
        *HELLO,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "0", "content": "Snow and sun"},
    ]
    asked = {"messages": messages, "tools": TOOLS}
    text = httpx.post(f"{writer.address}/chat_tokenize", json=asked).json()["templated_text"]
    assert "Snow and sun" in text
    assert "The weather in a city" in text
    with httpx.Client(base_url=writer.address, timeout=60) as http:
        assert chat(http, messages=messages).status_code == 200


def test_the_hub_client_chats(hub: InferenceClient) -> None:
    """It names a model that nobody has, unless it is told one."""
    asked: Any = {"max_tokens": 8, "temperature": 0.0, "seed": 1}
    whole = hub.chat_completion(HELLO, **asked)
    assert whole.usage.completion_tokens == 8
    parts = [each.choices[0].delta.content or "" for each in hub.chat_completion(HELLO, stream=True, **asked)]
    assert "".join(parts) == whole.choices[0].message.content
    form: Any = {"type": "json_schema", "json_schema": {"name": "temperature", "schema": SCHEMA}}
    answer = hub.chat_completion(HELLO, max_tokens=60, response_format=form)
    assert json.loads(answer.choices[0].message.content or "").keys() == {"unit", "degrees"}
    with pytest.raises(HfHubHTTPError, match="422"):
        hub.chat_completion(HELLO, temperature=-1.0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_older_client_chats(server: RunningServer, http: httpx.Client) -> None:
    """It sends every field that it knows, null where nothing was said."""
    client = text_generation.Client(server.address, timeout=60)
    messages: Any = [text_generation.types.Message(role="user", content="Hello!")]
    asked: Any = {"max_tokens": 8, "temperature": 0.0, "seed": 1}
    whole = client.chat(messages, **asked)
    assert whole.usage["completion_tokens"] == 8
    penalised = client.chat(messages, repetition_penalty=5.0, **asked)
    assert penalised.choices[0].message.content != whole.choices[0].message.content
    # Of streams it wants `tool_calls` in every piece, and JSON for `[DONE]`; TGI gives it neither. The rest it reads.
    for chunk in chunks(chat(http, stream=True)):
        (choice,) = chunk["choices"]
        assert "tool_calls" not in choice["delta"]
        choice["delta"]["tool_calls"] = None
        read = text_generation.types.ChatCompletionChunk(**chunk)
        assert read.choices[0].delta.content == choice["delta"]["content"]


def test_invocations_and_vertex(http: httpx.Client) -> None:
    assert http.post("/invocations", json={"messages": HELLO, "max_tokens": 2}).json()["object"] == "chat.completion"
    assert http.post("/invocations", json={"prompt": "a", "max_tokens": 2}).json()["object"] == "text_completion"
    native = {"inputs": "Hello", "parameters": {"max_new_tokens": 2}}
    (answer,) = http.post("/invocations", json=native).json()
    assert answer["generated_text"].startswith("Hello")
    greedy = {"parameters": {"max_new_tokens": 4, "do_sample": False}}
    instances = [{"inputs": "Say", **greedy}, {"inputs": "this", **greedy}, {"messages": HELLO, **greedy}]
    predictions = http.post("/vertex", json={"instances": instances}).json()["predictions"]
    alone = [http.post("/generate", json=instance).json()["generated_text"] for instance in instances[:2]]
    assert predictions[:2] == alone
    assert predictions[2]
    refused = http.post("/vertex", json={"instances": [*instances, {"inputs": "other"}]})
    assert "must be the same as those of the first instance" in refused.json()["error"]
    assert http.post("/vertex", json={"instances": []}).status_code == 422


def test_health_is_tgis(http: httpx.Client) -> None:
    assert http.get("/health").content == http.get("/ping").content == b""
    assert http.post("/v1/chat/completions", content="{}").status_code == 415
