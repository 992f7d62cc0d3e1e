"""Constrained output of the demo model, which was never taught any JSON, as the official clients ask for it."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import openai
import pytest
from huggingface_hub import InferenceClient
from pydantic import BaseModel, ConfigDict

from tests.end_to_end.server import RunningServer, run_server
from tests.engines.native.test_families import write_transformers
from tests.vocabularies import write_unigram_json

pytestmark = pytest.mark.xdist_group("demo")


class Colour(BaseModel):
    """A small answer, so that it is complete within few tokens."""

    model_config = ConfigDict(extra="forbid")
    name: Literal["red", "green", "blue"]
    is_warm: bool


MESSAGES: Any = [{"role": "user", "content": "光的三原色是什么"}]
SCHEMA = Colour.model_json_schema()
HOSTILE: dict[str, dict[str, Any]] = {
    "nested one of": {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}},
    "far reference": {"structured_outputs": {"json": {"$ref": "http://127.0.0.1:9/x"}}},
    "huge enum": {"guided_json": {"enum": list(range(50_000))}},
    "unbalanced": {"guided_regex": "("},
    "deep rules": {"guided_grammar": "start: " + "(" * 60_000 + '"a"' + ")" * 60_000},
    "look-behind": {"structured_outputs": {"regex": "(?<!a)b"}},
}
_deep: dict[str, Any] = {"type": "string"}
for _ in range(30):
    _deep = {"oneOf": [_deep, {"type": "integer"}]}
HOSTILE["nested one of"]["response_format"]["json_schema"]["schema"] = _deep


@pytest.fixture
def client(demo_server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=demo_server.base_url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def http(demo_server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=demo_server.address, timeout=60) as http:
        yield http


def test_openai_parses_an_answer_of_a_model(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(model="qwen-72b", messages=MESSAGES, response_format=Colour, n=3)
    assert len(answer.choices) == 3
    for choice in answer.choices:
        assert isinstance(choice.message.parsed, Colour)
        assert choice.finish_reason == "stop"


def test_openai_streams_an_answer_of_a_model(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="qwen-72b", messages=MESSAGES, response_format=Colour) as stream:
        completion = stream.get_final_completion()
    assert isinstance(completion.choices[0].message.parsed, Colour)


def test_any_object(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="qwen-72b", messages=MESSAGES, response_format={"type": "json_object"}, max_tokens=200, temperature=0
    )
    content = answer.choices[0].message.content
    assert content is not None
    assert content.startswith("{")
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(content), dict)


@pytest.mark.parametrize(
    ("more", "pattern"),
    [
        ({"structured_outputs": {"choice": ["red", "deep blue", "绿"]}}, "red|deep blue|绿"),
        ({"structured_outputs": {"regex": r"[0-9]{3}-[a-z]{2}"}}, r"[0-9]{3}-[a-z]{2}"),
        ({"structured_outputs": {"grammar": 'root ::= "a" b\nb ::= [bc] [bc]'}}, "a[bc]{2}"),
        ({"guided_regex": "x{5}"}, "x{5}"),
        ({"guided_json": {"enum": ["a", 1]}}, '"a"|1'),
    ],
)
def test_further_forms(client: openai.OpenAI, more: dict[str, Any], pattern: str) -> None:
    answer = client.completions.create(model="qwen-72b", prompt="The colour is", extra_body=more, max_tokens=40)
    assert re.fullmatch(pattern, answer.choices[0].text)


def test_vllm_generates_within_a_form(http: httpx.Client) -> None:
    answer = http.post("/generate", json={"prompt": "Say ", "structured_outputs": {"regex": "(yes|no){2}"}}).json()
    assert re.fullmatch("Say (yes|no){2}", answer["text"][0])


def test_the_hub_client_asks_for_a_grammar(demo_server: RunningServer) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    client = InferenceClient(demo_server.address)
    made: Any = {"type": "json", "value": SCHEMA}
    whole = client.text_generation("光的三原色是", max_new_tokens=60, grammar=made, return_full_text=False)
    assert Colour.model_validate_json(whole)
    expression: Any = {"type": "regex", "value": r"((25[0-5]|2[0-4]\d|[01]?\d\d?)\.){3}(25[0-5]|2[0-4]\d|[01]?\d\d?)"}
    events = list(
        client.text_generation(
            "Google's DNS is",
            max_new_tokens=40,
            grammar=expression,
            details=True,
            stream=True,
            return_full_text=False,
        )
    )
    assert re.fullmatch(expression["value"], events[-1].generated_text or "")


def test_triton_takes_structured_outputs(http: httpx.Client) -> None:
    body = {
        "text_input": "hi",
        "parameters": {"exclude_input_in_output": True},
        "sampling_parameters": json.dumps({"structured_outputs": {"choice": ["one", "two"]}}),
    }
    answer = http.post("/v2/models/qwen-72b/generate", json=body).json()
    assert answer["text_output"] in ("one", "two")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_forms_are_refused_soon_and_the_server_goes_on(http: httpx.Client, name: str) -> None:
    started_at = time.perf_counter()
    refusal = http.post("/v1/chat/completions", json={"messages": MESSAGES, **HOSTILE[name]})
    assert refusal.status_code == 400, refusal.text
    assert time.perf_counter() - started_at < 5
    error = refusal.json()["error"]
    assert error["param"].split(".")[0] in HOSTILE[name]
    assert http.post("/generate", json={"prompt": "hi", "max_tokens": 2}).status_code == 200


def test_tgi_words_its_refusals_as_its_clients_know_them(http: httpx.Client) -> None:
    grammar = {"type": "json", "value": {"properties": {"a": {"type": "bogus"}}}}
    refusal = http.post("/generate", json={"inputs": "hi", "parameters": {"grammar": grammar}})
    assert refusal.status_code == 422
    assert refusal.json()["error"].startswith("Input validation error: grammar is not valid: ")
    assert refusal.json()["error_type"] == "validation"


def test_a_form_that_grows_too_complex_fails_alone(http: httpx.Client) -> None:
    # Far too complex before it may end, whatever is drawn.
    body = {"prompt": "hi", "max_tokens": 400, "temperature": 1, "guided_regex": "([ -~]{1,100}){99,100}\n"}
    refusal = http.post("/v1/completions", json=body)
    assert refusal.status_code == 400
    error = refusal.json()["error"]
    assert error["message"] == (
        "The output cannot be completed within `guided_regex`: it is too complex to be followed further."
    )
    assert error["param"] == "guided_regex"
    assert http.post("/generate", json={"prompt": "hi", "max_tokens": 2}).status_code == 200


def test_what_grows_too_complex_ends_where_it_is_complete(http: httpx.Client) -> None:
    pattern = "([ -~]{1,100}){1,100}"
    body = {"prompt": "hi", "max_tokens": 400, "temperature": 1, "min_tokens": 300, "guided_regex": pattern}
    answer = http.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    (choice,) = answer.json()["choices"]
    assert choice["finish_reason"] == "stop"
    assert re.fullmatch(pattern, choice["text"])


@pytest.fixture(scope="module")
def narrow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A model whose vocabulary has no token for most characters, such as the Greek ones."""
    path = tmp_path_factory.mktemp("narrow")
    write_transformers(path, "llama", vocab_size=560, eos_token_id=2, max_position_embeddings=512)
    write_unigram_json(path)
    with run_server(str(path), "--device", "cpu", "--num-threads", "1", "--served-model-name", "narrow") as server:
        yield server


def _ways(pattern: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Paths and bodies that ask for a text of a regular expression, by the wire that they are of."""
    outputs = {"structured_outputs": {"regex": pattern}}
    grammar = {"max_new_tokens": 40, "grammar": {"type": "regex", "value": pattern}}
    return {
        "openai": ("/v1/completions", {"prompt": "hi", "max_tokens": 40, "guided_regex": pattern}),
        "vllm": ("/generate", {"prompt": "hi", "max_tokens": 40, **outputs}),
        "tgi": ("/generate", {"inputs": "hi", "parameters": grammar}),
        "triton": (
            "/v2/models/narrow/generate",
            {"text_input": "hi", "max_tokens": 40, "sampling_parameters": json.dumps(outputs)},
        ),
    }


STREAMS = {"tgi": "/generate_stream", "triton": "/v2/models/narrow/generate_stream"}


@pytest.mark.parametrize("wire", _ways(""))
def test_what_no_token_can_write_is_refused_before_anything_begins(narrow_server: RunningServer, wire: str) -> None:
    path, body = _ways("a?ξ")[wire]
    refusal = httpx.post(narrow_server.address + path, json=body, timeout=30)
    assert refusal.status_code == (422 if wire == "tgi" else 400)
    assert "no text of it can be written with the tokens that may be drawn" in refusal.text


@pytest.mark.parametrize("wire", _ways(""))
def test_an_output_that_no_token_continues_fails_alone(narrow_server: RunningServer, wire: str) -> None:
    path, body = _ways("[a-z]{3,9}ξ")[wire]
    sentence = "The output cannot be completed within `"
    with httpx.Client(base_url=narrow_server.address, timeout=30) as http:
        refusal = http.post(path, json=body)
        assert refusal.status_code == (424 if wire == "tgi" else 400)
        assert sentence in refusal.text
        with http.stream("POST", STREAMS.get(wire, path), json=body | {"stream": True}) as answer:
            frames = [line for line in answer.iter_lines() if line]
        assert answer.status_code == 200
        assert len(frames) > 1
        assert sentence in next(frame for frame in reversed(frames) if "[DONE]" not in frame)
        assert http.get("/health").status_code == 200


@pytest.mark.parametrize("wire", _ways(""))
def test_an_output_that_is_complete_ends_where_no_token_continues(narrow_server: RunningServer, wire: str) -> None:
    path, body = _ways("[a-z]{3,9}ξ?")[wire]
    answer = httpx.post(narrow_server.address + path, json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    assert re.search("[a-z]{3,9}", answer.text)


def test_the_scripted_engine_says_that_it_cannot() -> None:
    with run_server("--engine", "scripted") as server:
        body = {"prompt": "hi", "guided_regex": "a"}
        refusal = httpx.post(f"{server.base_url}/completions", json=body, timeout=30)
        assert refusal.status_code == 400
        assert refusal.json()["error"]["param"] == "guided_regex"
        assert refusal.json()["error"]["code"] == "unsupported_parameter"
