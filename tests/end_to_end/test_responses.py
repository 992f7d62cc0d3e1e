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
    numbers = [event.sequence_number for event in client.responses.create(**asked, stream=True)]
    assert numbers == list(range(len(kinds)))
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


def text_part(response: Any) -> Any:
    ((part,),) = (item.content for item in response.output if item.type == "message")
    assert part.type == "output_text"
    return part


def test_log_probabilities_of_the_text(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "temperature": 0, "include": ["message.output_text.logprobs"], "top_logprobs": 3}
    whole = client.responses.create(**asked, input="Hello!")
    told: list[Any] = []
    with client.responses.stream(**asked, input="Hello!") as stream:
        for event in stream:
            told += event.logprobs if event.type == "response.output_text.delta" else []
        streamed = stream.get_final_response()
    responses: tuple[Any, ...] = (whole, streamed)
    for response in responses:
        part = text_part(response)
        assert len(part.logprobs) == response.usage.output_tokens
        assert all(len(place.top_logprobs) == 3 for place in part.logprobs)
        assert [each.logprob for each in told] == [each.logprob for each in part.logprobs]
        written = b"".join(bytes(place.bytes) for place in part.logprobs).decode()
        assert written.startswith(part.text)
    with pytest.raises(openai.BadRequestError, match="include"):
        client.responses.create(model=MODEL, input="Hello!", top_logprobs=1)


def test_log_probabilities_leave_reasoning_and_calls_out(writer: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "input": "Weather?", "tools": TOOLS, "include": ["message.output_text.logprobs"]}
    whole = writer.responses.create(**asked)
    with writer.responses.stream(**asked) as stream:
        streamed = stream.get_final_response()
    for response in (whole, streamed):
        part = text_part(response)
        written = b"".join(bytes(place.bytes) for place in part.logprobs or ()).decode()
        assert written.strip() == part.text == "I look."


def test_what_open_servers_add(client: openai.OpenAI) -> None:
    more: Any = {"structured_outputs": {"choice": ["red", "blue"]}, "seed": 1, "top_k": 3}
    assert client.responses.create(model=MODEL, input="Hello!", extra_body=more).output_text in ("red", "blue")
    free = client.responses.create(model=MODEL, input="Hello!", temperature=0).output_text
    end = free[3:6]
    cut = client.responses.create(model=MODEL, input="Hello!", temperature=0, extra_body={"stop": [end]})
    assert cut.output_text == free[: free.index(end)]


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
