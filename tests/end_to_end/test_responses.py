"""The Responses API through the official client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.end_to_end.server import RunningServer, run_server
from tests.end_to_end.spelling import run_writer
from tests.end_to_end.test_tools import TEXT

MODEL = "portico-demo"
TOOLS: Any = [
    {
        "type": "function",
        "name": "weather",
        "strict": False,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
]


class Colour(BaseModel):
    """A form for answers."""

    name: bool


def connect(server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def client(demo_server: RunningServer) -> openai.OpenAI:
    return connect(demo_server)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    with run_writer(tmp_path_factory.mktemp("writer"), TEXT, "--reasoning-parser", "think") as server:
        yield connect(server)


def test_a_response(client: openai.OpenAI) -> None:
    response = client.responses.create(model=MODEL, input="Hello!", instructions="You are kind.", temperature=0)
    assert response.status == "completed"
    assert response.output_text
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    counted = client.responses.input_tokens.count(model=MODEL, input="Hello!", instructions="You are kind.")
    assert counted.input_tokens == response.usage.input_tokens


def test_the_stream_is_the_response(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "input": [{"role": "user", "content": "Hello!"}], "temperature": 0}
    whole = client.responses.create(**asked)
    with client.responses.stream(**asked) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_response()
    assert streamed.output_text == whole.output_text
    assert list(dict.fromkeys(kinds)) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


def test_an_answer_that_is_cut(client: openai.OpenAI) -> None:
    response = client.responses.create(model=MODEL, input="Hello!", max_output_tokens=2)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_a_form(client: openai.OpenAI) -> None:
    response = client.responses.parse(model=MODEL, input="Hello!", text_format=Colour, max_output_tokens=200)
    assert response.output_parsed is not None
    assert response.output_parsed.name in (True, False)


def test_reasoning_text_and_calls(writer: openai.OpenAI) -> None:
    whole = writer.responses.create(model=MODEL, input="Weather?", tools=TOOLS)
    with writer.responses.stream(model=MODEL, input="Weather?", tools=TOOLS) as stream:
        kinds = {event.type for event in stream}
        streamed = stream.get_final_response()
    assert {"response.reasoning_text.delta", "response.function_call_arguments.done"} <= kinds
    for response in (whole, streamed):
        assert [item.type for item in response.output] == ["reasoning", "message", "function_call", "function_call"]
        assert response.output_text == "I look."
        calls = [json.loads(item.arguments) for item in response.output if item.type == "function_call"]
        assert calls == [{"city": "Ulm"}, {"city": "Köln"}]
    outputs = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "rain"}
        for item in whole.output
        if item.type == "function_call"
    ]
    turns: Any = [{"role": "user", "content": "Weather?"}, *whole.output, *outputs]
    assert writer.responses.create(model=MODEL, input=turns, tools=TOOLS).output


def test_what_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(model=MODEL, input="Hello!", previous_response_id="resp_1")
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.create(model=MODEL, input="Hello!", background=True)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_1")
    with pytest.raises(openai.NotFoundError, match="no-such"):
        client.responses.create(model="no-such", input="Hello!")


def test_a_failure_in_the_stream() -> None:
    with run_server("--engine", "scripted", "--fail-after", "3") as server:
        events = list(connect(server).responses.create(model=MODEL, input="Hello!", stream=True))
    assert [event.type for event in events][-2:] == ["error", "response.failed"]
