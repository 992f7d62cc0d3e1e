"""Tools and reasoning through OpenAI's official client, with a model that writes both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.end_to_end.server import RunningServer, run_server
from tests.end_to_end.spelling import TEMPLATE, run_writer

TEXT = (
    "<think>\nThe weather, then.\n</think>\n\nI look."
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln"}}\n</tool_call>'
)
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
ASKED: Any = {"model": "portico-demo", "messages": [{"role": "user", "content": "How is the weather in Ulm?"}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with run_writer(tmp_path_factory.mktemp("writer"), TEXT, "--reasoning-parser", "think") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)


def read_calls(message: Any) -> list[tuple[str, Any]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls]


def test_calls(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**ASKED, tools=TOOLS)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "I look."
    assert choice.message.model_extra is not None
    assert choice.message.model_extra["reasoning"] == "The weather, then."
    assert read_calls(choice.message) == [("weather", {"city": "Ulm"}), ("weather", {"city": "Köln"})]
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens


def test_streamed_calls_are_those_of_the_whole_answer(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(**ASKED, tools=TOOLS, n=2) as stream:
        kinds = [event.type for event in stream]
        completion = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    for choice in completion.choices:
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content == "I look."
        assert read_calls(choice.message) == [("weather", {"city": "Ulm"}), ("weather", {"city": "Köln"})]


def test_streamed_reasoning(client: openai.OpenAI) -> None:
    deltas = [chunk.choices[0].delta for chunk in client.chat.completions.create(**ASKED, stream=True)]
    assert "".join((delta.model_extra or {}).get("reasoning", "") for delta in deltas) == "The weather, then."
    assert "".join(delta.content or "" for delta in deltas) == TEXT.partition("</think>\n\n")[2]
    hidden = client.chat.completions.create(**ASKED, stream=True, extra_body={"include_reasoning": False})
    assert not any("reasoning" in (chunk.choices[0].delta.model_extra or {}) for chunk in hidden)


def test_at_most_one_call(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**ASKED, tools=TOOLS, parallel_tool_calls=False)
    assert read_calls(answer.choices[0].message) == [("weather", {"city": "Ulm"})]
    assert answer.choices[0].finish_reason == "tool_calls"


def test_no_calls(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**ASKED, tools=TOOLS, tool_choice="none")
    assert answer.choices[0].message.tool_calls is None
    assert "<tool_call>" in (answer.choices[0].message.content or "")


def test_results_go_back_to_the_model(client: openai.OpenAI) -> None:
    message = client.chat.completions.create(**ASKED, tools=TOOLS).choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in message.tool_calls or ()]
    turns = [*ASKED["messages"], message.model_dump(exclude_none=True), *results]
    answer = client.chat.completions.create(model="portico-demo", messages=turns, tools=TOOLS)
    assert answer.choices[0].finish_reason == "tool_calls"


def test_the_template_writes_tools_calls_and_results(server: RunningServer) -> None:
    call = {"id": "a1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
    turns = [
        *ASKED["messages"],
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a1", "content": "rain"},
    ]
    tokens = httpx.post(f"{server.address}/tokenize", json={"messages": turns, "tools": TOOLS}).json()["tokens"]
    prompt = httpx.post(f"{server.address}/detokenize", json={"tokens": tokens}).json()["prompt"]
    assert json.dumps(TOOLS[0]) in prompt
    assert '<tool_call>{"name": "weather", "arguments": {"city": "Ulm"}}</tool_call>' in prompt
    assert "tool\nrain" in prompt


def test_what_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="1 to 512 tools"):
        client.chat.completions.create(**ASKED, tools=[])
    with pytest.raises(openai.BadRequestError, match="engine"):
        client.chat.completions.create(**ASKED, tools=TOOLS, tool_choice="required")
    with pytest.raises(openai.BadRequestError, match="there is no tool"):
        client.chat.completions.create(
            **ASKED, tools=TOOLS, tool_choice={"type": "function", "function": {"name": "time"}}
        )


def test_a_template_without_tools(demo_server: RunningServer) -> None:
    client = openai.OpenAI(base_url=demo_server.base_url, api_key="none", max_retries=0)
    with pytest.raises(openai.BadRequestError, match="--tool-call-parser"):
        client.chat.completions.create(**ASKED, tools=TOOLS)
    answer = client.chat.completions.create(**ASKED, tools=TOOLS, tool_choice="none", max_tokens=3)
    assert answer.choices[0].message.content


def test_calls_that_nobody_can_read_are_told_of_at_start(tmp_path: Path) -> None:
    path = tmp_path / "template.jinja"
    path.write_text(TEMPLATE.replace("<tool_call>", "<call>").replace("</tool_call>", "</call>"), encoding="utf-8")
    known = tmp_path / "known.jinja"
    known.write_text(TEMPLATE, encoding="utf-8")
    with run_server("--engine", "scripted", "--chat-template", str(path)) as server:
        log = "".join(server.output)
        assert "calls of tools none" in log
        assert "requests with tools are refused" in log
        refused = httpx.post(f"{server.base_url}/chat/completions", json={**ASKED, "tools": TOOLS})
        assert (refused.status_code, "--tool-call-parser" in refused.text) == (400, True)
        assert httpx.post(f"{server.base_url}/chat/completions", json={**ASKED, "max_tokens": 2}).status_code == 200
    with run_server("--engine", "scripted", "--chat-template", str(known)) as server:
        log = "".join(server.output)
        assert "calls of tools hermes" in log
        assert "refused" not in log


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """The demo model, which cannot call tools by itself, with a template that takes them."""
    path = tmp_path_factory.mktemp("model") / "template.jinja"
    path.write_text(TEMPLATE, encoding="utf-8")
    with run_server("--chat-template", str(path)) as server:
        yield openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)


FORCED: Any = [
    {
        "type": "function",
        "function": {
            "name": "paint",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"colour": {"enum": ["red", "blue"]}, "size": {"$ref": "#/$defs/Size"}},
                "required": ["colour", "size"],
                "additionalProperties": False,
                "$defs": {"Size": {"type": "integer", "minimum": 1, "maximum": 9}},
            },
        },
    },
    {"type": "function", "function": {"name": "wait", "parameters": {"type": "object", "additionalProperties": False}}},
]


def test_a_required_call(model: openai.OpenAI) -> None:
    answer = model.chat.completions.create(**ASKED, tools=FORCED, tool_choice="required", max_tokens=200)
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    ((name, arguments),) = read_calls(choice.message)
    assert name in ("paint", "wait")
    if name == "paint":
        assert arguments["colour"] in ("red", "blue")
        assert 1 <= arguments["size"] <= 9


def test_a_named_call(model: openai.OpenAI) -> None:
    chosen: Any = {"type": "function", "function": {"name": "paint"}}
    with model.chat.completions.stream(**ASKED, tools=FORCED, tool_choice=chosen, max_tokens=200) as stream:
        (choice,) = stream.get_final_completion().choices
    ((name, arguments),) = read_calls(choice.message)
    assert (name, arguments.keys(), choice.finish_reason) == ("paint", {"colour", "size"}, "stop")


def test_a_forced_call_that_is_cut_is_text(model: openai.OpenAI) -> None:
    answer = model.chat.completions.create(**ASKED, tools=FORCED, tool_choice="required", max_tokens=2)
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.tool_calls) == ("length", None)
    assert (choice.message.content or "").startswith("{")
