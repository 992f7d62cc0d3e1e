"""Anthropic's official client against a started server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.end_to_end.server import RunningServer, run_server
from tests.end_to_end.spelling import run_writer
from tests.end_to_end.test_tools import TEXT

ASKED: Any = {"model": "portico-demo", "max_tokens": 24, "messages": [{"role": "user", "content": "Hello!"}]}
GREEDY: Any = {"temperature": 0}
TOOLS: Any = [
    {
        "name": "weather",
        "description": "The weather in a city",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]


def connect(server: RunningServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.address, api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def client(demo_server: RunningServer) -> anthropic.Anthropic:
    return connect(demo_server)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[anthropic.Anthropic]:
    with run_writer(tmp_path_factory.mktemp("writer"), TEXT, "--reasoning-parser", "think") as server:
        yield connect(server)


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_message(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**ASKED, system="You are kind.", extra_body=GREEDY)
    assert message.id.startswith("msg_")
    assert (message.type, message.role, message.model) == ("message", "assistant", "portico-demo")
    assert text_of(message)
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert 0 < message.usage.output_tokens <= 24
    assert message._request_id


def test_the_stream_is_the_message(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(**ASKED, extra_body=GREEDY)
    with client.messages.stream(**ASKED, extra_body=GREEDY) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert text_of(streamed) == text_of(whole)
    assert (streamed.stop_reason, streamed.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)
    raw = [kind for kind in dict.fromkeys(kinds) if kind != "text"]
    assert raw == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_stop_sequences(client: anthropic.Anthropic) -> None:
    free = text_of(client.messages.create(**ASKED, extra_body=GREEDY))
    end = free[4:7]
    message = client.messages.create(**ASKED, stop_sequences=["no such", end], extra_body=GREEDY)
    assert text_of(message) == free[: free.index(end)]
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", end)


def test_a_begun_answer_is_continued(client: anthropic.Anthropic) -> None:
    turns: Any = [*ASKED["messages"], {"role": "assistant", "content": "My name"}]
    message = client.messages.create(model="portico-demo", max_tokens=4, messages=turns, extra_body=GREEDY)
    assert text_of(message)


def test_count_tokens(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model="portico-demo", messages=ASKED["messages"], system="You are kind.")
    message = client.messages.create(**{**ASKED, "max_tokens": 1}, system="You are kind.")
    usage = message.usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_thinking_text_and_calls(writer: anthropic.Anthropic) -> None:
    asked: Any = {**ASKED, "max_tokens": 500}
    whole = writer.messages.create(**asked, tools=TOOLS)
    with writer.messages.stream(**asked, tools=TOOLS) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert "input_json" in kinds
    messages: tuple[Any, ...] = (whole, streamed)
    for message in messages:
        assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
        calls = [block.input for block in message.content if block.type == "tool_use"]
        assert calls == [{"city": "Ulm"}, {"city": "Köln"}]
        assert text_of(message) == "I look."
        assert message.stop_reason == "tool_use"
        assert message.usage.output_tokens_details is not None
    results: Any = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "rain"}
        for block in whole.content
        if block.type == "tool_use"
    ]
    turns: Any = [
        *ASKED["messages"],
        {"role": "assistant", "content": whole.content},
        {"role": "user", "content": results},
    ]
    assert writer.messages.create(**{**asked, "messages": turns}, tools=TOOLS).content


def test_at_most_one_call(writer: anthropic.Anthropic) -> None:
    choice: Any = {"type": "auto", "disable_parallel_tool_use": True}
    message = writer.messages.create(**{**ASKED, "max_tokens": 500}, tools=TOOLS, tool_choice=choice)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]


def test_errors(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="max_tokens") as refused:
        client.messages.create(**{**ASKED, "max_tokens": 0})
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["error"]["type"] == "invalid_request_error"
    with pytest.raises(anthropic.NotFoundError, match="no-such"):
        client.messages.create(**{**ASKED, "model": "no-such"})
    with pytest.raises(anthropic.BadRequestError, match="maximum context length"):
        client.messages.create(**{**ASKED, "messages": [{"role": "user", "content": "word " * 5000}]})
    with pytest.raises(anthropic.NotFoundError, match="There is no POST"):
        client.post("/v1/messages/batches", cast_to=object)


def test_a_failure_in_the_stream_is_an_error() -> None:
    with run_server("--engine", "scripted", "--fail-after", "3") as server:
        client = connect(server)
        with pytest.raises(anthropic.APIStatusError, match="api_error"), client.messages.stream(**ASKED) as stream:
            stream.get_final_message()
        with pytest.raises(anthropic.InternalServerError):
            client.messages.create(**ASKED)


def test_every_event_of_a_stream_in_order(writer: anthropic.Anthropic) -> None:
    events = list(writer.messages.create(**{**ASKED, "max_tokens": 500}, tools=TOOLS, stream=True))
    start, *inner, delta, stop = events
    assert start.type == "message_start"
    assert (start.message.content, start.message.stop_reason, start.message.usage.output_tokens) == ([], None, 0)
    assert start.message.usage.input_tokens > 0
    open_block, kinds = None, []
    deltas = {
        "thinking": {"thinking_delta", "signature_delta"},
        "text": {"text_delta"},
        "tool_use": {"input_json_delta"},
    }
    for event in inner:
        if event.type == "content_block_start":
            assert open_block is None
            open_block = event
            kinds.append(event.content_block.type)
            assert event.index == len(kinds) - 1
        elif event.type == "content_block_delta":
            assert open_block is not None
            assert event.index == open_block.index
            assert event.delta.type in deltas[open_block.content_block.type]
        else:
            assert event.type == "content_block_stop"
            assert open_block is not None
            assert event.index == open_block.index
            open_block = None
    assert open_block is None
    assert kinds == ["thinking", "text", "tool_use", "tool_use"]
    assert delta.type == "message_delta"
    assert delta.delta.stop_reason == "tool_use"
    assert delta.usage.output_tokens > 0
    assert stop.type == "message_stop"


def test_tokens_of_tools_and_turns_are_counted(writer: anthropic.Anthropic) -> None:
    asked: Any = {"model": "portico-demo", "messages": ASKED["messages"], "tools": TOOLS}
    with_tools = writer.messages.count_tokens(**asked)
    without = writer.messages.count_tokens(model="portico-demo", messages=ASKED["messages"])
    assert with_tools.input_tokens > without.input_tokens
    message = writer.messages.create(**asked, max_tokens=1)
    assert with_tools.input_tokens == message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)


def test_asynchronous_messages(demo_server: RunningServer, client: anthropic.Anthropic) -> None:
    async def ask() -> list[anthropic.types.Message]:
        async with anthropic.AsyncAnthropic(base_url=demo_server.address, api_key="none", max_retries=0) as client:
            several = await asyncio.gather(*(client.messages.create(**ASKED, extra_body=GREEDY) for _ in range(4)))
            async with client.messages.stream(**ASKED, extra_body=GREEDY) as stream:
                return [*several, await stream.get_final_message()]

    whole = text_of(client.messages.create(**ASKED, extra_body=GREEDY))
    assert [text_of(message) for message in asyncio.run(ask())] == [whole] * 5


def test_what_open_servers_add(client: anthropic.Anthropic) -> None:
    def count_cached(salt: str) -> int:
        asked: Any = {
            "model": "portico-demo",
            "max_tokens": 1,
            "messages": [{"role": "user", "content": "Hello! " * 20}],
        }
        return client.messages.create(**asked, extra_body={"cache_salt": salt}).usage.cache_read_input_tokens or 0

    assert [count_cached("a1"), count_cached("a1") > 0, count_cached("b1")] == [0, True, 0]
    with pytest.raises(anthropic.BadRequestError, match="vllm_xargs"):
        client.messages.create(**ASKED, extra_body={"vllm_xargs": {"a": 1}})
