"""Calls while they are written, in every format, through the official clients: streams are the whole answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.end_to_end.server import RunningServer
from tests.end_to_end.spelling import run_writer

CITY = 'Ulm "an der Donau" </b> \\ – 5'
ARGUMENTS = {"city": CITY, "days": 3}
CITY_JSON, JSON = json.dumps(CITY, ensure_ascii=False), json.dumps(ARGUMENTS, ensure_ascii=False)
CALLS = {
    "hermes": f'<tool_call>\n{{"name": "weather", "arguments": {JSON}}}\n</tool_call>\n' * 2,
    "qwen3_coder": (
        f"<tool_call>\n<function=weather>\n<parameter=city>\n{CITY}\n</parameter>\n"
        "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>\n"
    )
    * 2,
    "glm45": (
        f"<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>{CITY}</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>\n"
    )
    * 2,
    "mistral": f"[TOOL_CALLS]weather[ARGS]{JSON}" * 2,
    "pythonic": f"<|python_start|>[weather(city={CITY_JSON}, days=3), weather(city={CITY_JSON}, days=3)]<|python_end|>",
    "deepseek_v3": (
        "<｜tool▁calls▁begin｜>"
        + f"<｜tool▁call▁begin｜>weather<｜tool▁sep｜>{JSON}<｜tool▁call▁end｜>" * 2
        + "<｜tool▁calls▁end｜>"
    ),
}
SCHEMA: Any = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
QUESTION: Any = [{"role": "user", "content": "How is the weather in Ulm?"}]


@pytest.fixture(scope="module", params=CALLS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    flags = ("--tool-call-parser", request.param)
    with run_writer(tmp_path_factory.mktemp("writer"), f"I look.{CALLS[request.param]}", *flags) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)


def test_deltas_of_chat_completions(client: openai.OpenAI) -> None:
    asked: Any = {"model": "portico-demo", "messages": QUESTION, "tools": TOOLS}
    whole = client.chat.completions.create(**asked).choices[0]
    names: list[str] = []
    ids: list[str] = []
    pieces: list[list[str]] = []
    reasons = []
    for chunk in client.chat.completions.create(**asked, stream=True):
        (choice,) = chunk.choices
        reasons.append(choice.finish_reason)
        for call in choice.delta.tool_calls or ():
            assert call.function is not None
            if call.id is not None:
                assert (call.index, call.type) == (len(ids), "function")
                assert call.function.name is not None
                ids.append(call.id)
                names.append(call.function.name)
                pieces.append([])
            else:
                assert (call.index, call.type, call.function.name) == (len(ids) - 1, None, None)
            pieces[call.index].append(call.function.arguments or "")
    assert whole.message.content == "I look."
    assert [(each.function.name, each.function.arguments) for each in whole.message.tool_calls or ()] == [
        (name, "".join(texts)) for name, texts in zip(names, pieces, strict=True)
    ]
    assert len(set(ids)) == 2
    assert [json.loads("".join(texts)) for texts in pieces] == [ARGUMENTS] * 2
    assert all(len([text for text in texts if text]) > 1 for texts in pieces)
    assert reasons[-1] == whole.finish_reason == "tool_calls"


def test_a_cut_call_is_what_there_is_of_it(client: openai.OpenAI) -> None:
    asked: Any = {"model": "portico-demo", "messages": QUESTION, "tools": TOOLS}
    for max_tokens in (20, 28, 33, 38, 44, 70):
        (choice,) = client.chat.completions.create(**asked, max_tokens=max_tokens).choices
        with client.chat.completions.stream(**asked, max_tokens=max_tokens) as stream:
            deltas = [event.chunk.choices[0].delta for event in stream if event.type == "chunk"]
        assert "".join(delta.content or "" for delta in deltas) == (choice.message.content or "")
        streamed = [call.function.arguments or "" for d in deltas for call in d.tool_calls or () if call.function]
        calls = choice.message.tool_calls or []
        assert "".join(streamed) == "".join(call.function.arguments for call in calls)
        assert choice.finish_reason == "length"


def blocks(message: anthropic.types.Message) -> list[dict[str, Any]]:
    """The content: the text, of which there is one block in whole messages, and calls without their ids."""
    text = "".join(block.text for block in message.content if block.type == "text")
    calls = [{"name": each.name, "input": each.input} for each in message.content if each.type == "tool_use"]
    return [{"text": text}, *calls]


def test_events_of_messages(server: RunningServer) -> None:
    client = anthropic.Anthropic(base_url=server.address, api_key="none", max_retries=0)
    tools: Any = [{"name": "weather", "input_schema": SCHEMA}]
    asked: Any = {"model": "portico-demo", "max_tokens": 400, "messages": QUESTION, "tools": tools}
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        streamed = stream.get_final_message()
    assert blocks(streamed) == blocks(whole)
    assert [block.input for block in whole.content if block.type == "tool_use"] == [ARGUMENTS] * 2
    assert len(pieces) > 2
    assert (streamed.stop_reason, whole.stop_reason) == ("tool_use", "tool_use")
    for max_tokens in (33, 38, 44, 70):
        cut = client.messages.create(**{**asked, "max_tokens": max_tokens})
        with client.messages.stream(**{**asked, "max_tokens": max_tokens}) as stream:
            streamed = stream.get_final_message()
        assert blocks(streamed) == blocks(cut)
        assert streamed.stop_reason == cut.stop_reason == "max_tokens"


def test_events_of_responses(client: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]
    asked: Any = {"model": "portico-demo", "input": "How is the weather?", "tools": tools, "store": False}
    for limit in (400, 44):
        whole = client.responses.create(**asked, max_output_tokens=limit)
        with client.responses.stream(**asked, max_output_tokens=limit) as stream:
            events = list(stream)
        ended = events[-1]
        assert ended.type in ("response.completed", "response.incomplete")
        fields = ("type", "arguments", "status")
        shown, expected = (
            [[getattr(item, field, None) for field in fields] for item in response.output]
            for response in (ended.response, whole)
        )
        assert shown == expected
        deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
        done = [event.arguments for event in events if event.type == "response.function_call_arguments.done"]
        assert "".join(deltas) == "".join(done)
        assert limit != 400 or len(deltas) > len(done) == 2
