"""What OpenAI's users rely on, through the official client; the numbers are those of the list it was taken from."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.end_to_end.server import RunningServer, run_server

pytestmark = pytest.mark.xdist_group("demo")

MODEL = "portico-demo"
PROMPT = "My name is Olivier and I"
ASKED: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}], "temperature": 0}
ENDLESS = {"ignore_eos": True}


@pytest.fixture(scope="module")
def client(demo_server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=demo_server.base_url, api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def failing() -> Iterator[openai.OpenAI]:
    """A server whose engine fails in the middle of every answer."""
    with run_server("--engine", "scripted", "--fail-after", "3") as server:
        yield openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)


def test_1_how_long_answers_are(client: openai.OpenAI) -> None:
    completion = client.completions.create(model=MODEL, prompt=PROMPT, temperature=0, extra_body=ENDLESS)
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 16
    answer = client.chat.completions.create(**ASKED, max_completion_tokens=20, max_tokens=5, extra_body=ENDLESS)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 20


def test_2_and_3_several_choices(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**ASKED, n=3, max_tokens=6, extra_body=ENDLESS)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 18
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 18


def test_4_stop_strings(client: openai.OpenAI) -> None:
    free = client.completions.create(model=MODEL, prompt=PROMPT, temperature=0, extra_body=ENDLESS).choices[0].text
    end = free[3:6]
    stops: list[str | list[str]] = [end, ["no such", end]]
    for stop in stops:
        choice = client.completions.create(
            model=MODEL, prompt=PROMPT, temperature=0, stop=stop, extra_body=ENDLESS
        ).choices[0]
        assert (choice.text, choice.finish_reason) == (free[: free.index(end)], "stop")
    with pytest.raises(openai.BadRequestError, match="stop"):
        client.chat.completions.create(**ASKED, stop=[""])


def test_5_to_7_streams(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(**ASKED, max_tokens=12, stream=True, stream_options={"include_usage": True})
    )
    assert [bool(chunk.choices) for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    choices = [chunk.choices[0] for chunk in chunks[:-1]]
    whole = client.chat.completions.create(**ASKED, max_tokens=12).choices[0]
    assert "".join(choice.delta.content or "" for choice in choices) == whole.message.content
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == [whole.finish_reason]


def test_8_and_9_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**ASKED, logprobs=True, max_tokens=7, extra_body=ENDLESS)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert len(logprobs.content) == 7
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(**ASKED, top_logprobs=2)
    assert refusal.value.param == "top_logprobs"


def test_10_an_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refusal:
        client.chat.completions.create(**{**ASKED, "model": "other"})
    assert (refusal.value.param, refusal.value.code) == ("model", "model_not_found")
    assert "other" in refusal.value.message


def test_15_a_model_by_its_name(client: openai.OpenAI) -> None:
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("org/name")


def test_17_a_stream_that_is_left_frees_its_place() -> None:
    with run_server("--engine", "scripted", "--token-delay", "0.05", "--max-num-seqs", "1") as server:
        client = openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)
        stream = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=400, stream=True)
        next(iter(stream))
        stream.close()
        started_at = time.monotonic()
        client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=1)
        assert time.monotonic() - started_at < 5


def test_18_an_error_in_a_stream(failing: openai.OpenAI) -> None:
    stream = failing.completions.create(model=MODEL, prompt=PROMPT, stream=True)
    with pytest.raises(openai.APIError, match="failed after 3 tokens"):
        list(stream)
    with pytest.raises(openai.InternalServerError):
        failing.completions.create(model=MODEL, prompt=PROMPT)


def test_19_seeds(client: openai.OpenAI) -> None:
    asked = {**ASKED, "temperature": 1.5, "max_tokens": 16}
    texts = [client.chat.completions.create(**asked, seed=seed).choices[0].message.content for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_20_echo_with_logprobs(client: openai.OpenAI) -> None:
    choice = client.completions.create(model=MODEL, prompt=PROMPT, echo=True, logprobs=1, max_tokens=0).choices[0]
    assert choice.text == PROMPT
    assert choice.logprobs is not None
    assert choice.logprobs.token_logprobs is not None
    assert choice.logprobs.token_logprobs[0] is None
