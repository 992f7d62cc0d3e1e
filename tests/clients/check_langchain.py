"""LangChain's models for OpenAI, told nothing but another address."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Literal

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAI
from openai import BadRequestError
from pydantic import BaseModel, SecretStr

QUESTION = "What are the three primary colours of light?"
ANSWER = "red, green and blue"


class Colour(BaseModel):
    """A colour."""

    name: Literal["red", "green", "blue"]
    is_warm: bool


def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


@pytest.fixture(scope="module", params=[False, True], ids=["chat", "responses"])
def chat(base_url: str, request: pytest.FixtureRequest) -> ChatOpenAI:
    return ChatOpenAI(
        model="portico-demo",
        base_url=base_url,
        api_key=SecretStr("none"),
        temperature=0,
        max_retries=0,
        stream_usage=True,
        use_responses_api=request.param,
        store=False if request.param else None,
    )


def test_invoke(chat: ChatOpenAI) -> None:
    answer = chat.invoke([("system", "You are kind."), ("user", QUESTION)])
    assert ANSWER in answer.text
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["model_name"] == "portico-demo"


def test_stream(chat: ChatOpenAI) -> None:
    chunks = list(chat.stream(QUESTION))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert len(chunks) > 3
    assert ANSWER in whole.text
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] > 0


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """One loop for all: LangChain keeps its connections for every model of the same address."""
    with asyncio.Runner() as runner:
        yield runner


def test_batch(chat: ChatOpenAI, loop: asyncio.Runner) -> None:
    questions = [QUESTION, "光的三原色是什么"]
    answers = chat.batch(questions)
    assert [ANSWER in answers[0].text, "红" in answers[1].text] == [True, True]

    async def gather() -> list[AIMessage]:
        answers: list[AIMessage] = await chat.abatch(questions)
        return answers

    assert [each.text for each in loop.run(gather())] == [each.text for each in answers]


def test_structured_output(chat: ChatOpenAI) -> None:
    colour = chat.with_structured_output(Colour, method="json_schema").invoke(QUESTION)
    assert isinstance(colour, Colour)


def test_log_probabilities(base_url: str) -> None:
    chat = ChatOpenAI(model="portico-demo", base_url=base_url, api_key=SecretStr("none"), temperature=0)
    answer = chat.bind(logprobs=True, top_logprobs=2).invoke(QUESTION)
    places = answer.response_metadata["logprobs"]["content"]
    assert all(len(place["top_logprobs"]) == 2 for place in places)


def test_tools_that_the_template_does_not_take_are_refused(chat: ChatOpenAI) -> None:
    with pytest.raises(BadRequestError, match="--tool-call-parser"):
        chat.bind_tools([weather]).invoke(QUESTION)


def test_completions(base_url: str) -> None:
    model = OpenAI(model="portico-demo", base_url=base_url, api_key=SecretStr("none"), temperature=0, max_tokens=24)
    text = model.invoke("My name is Olivier and I")
    assert "photographer" in text
    assert "".join(model.stream("My name is Olivier and I")) == text
    assert model.batch(["My name is Olivier and I", "光的三原色是"])[0] == text


def test_tools(caller_url: str) -> None:
    chat = ChatOpenAI(model="portico-demo", base_url=caller_url, api_key=SecretStr("none")).bind_tools([weather])
    turns: list[AnyMessage] = [HumanMessage("Weather?")]
    answer = chat.invoke(turns)
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("weather", {"city": "Ulm"})]
    streamed = [chunk.tool_call_chunks for chunk in chat.stream(turns) if isinstance(chunk, AIMessageChunk)]
    assert [call["name"] for calls in streamed for call in calls if call["name"]] == ["weather"]
    results = [ToolMessage("rain", tool_call_id=call["id"]) for call in answer.tool_calls]
    assert chat.invoke([*turns, answer, *results]).tool_calls
