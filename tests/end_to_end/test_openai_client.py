"""The official OpenAI client in the ways that its users drive it: asynchronously, with retries, with odd names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.end_to_end.server import RunningServer, run_server

pytestmark = pytest.mark.xdist_group("demo")

MODEL = "portico-demo"
ASKED: Any = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}], "temperature": 0, "max_tokens": 12}


class Colour(BaseModel):
    """A form for answers."""

    name: Literal["red", "blue"]


@pytest.fixture
def client(demo_server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=demo_server.base_url, api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def busy() -> Iterator[RunningServer]:
    """One place, and nobody may wait for it; an answer of ten tokens takes half a second."""
    flags = ("--max-num-seqs", "1", "--max-waiting", "0", "--token-delay", "0.05")
    with run_server("--engine", "scripted", "--served-model-name", "org/name", *flags) as server:
        yield server


def test_asynchronous_answers_are_the_same(demo_server: RunningServer, client: openai.OpenAI) -> None:
    async def ask() -> tuple[list[str | None], str, str, Colour | None, str]:
        async with openai.AsyncOpenAI(base_url=demo_server.base_url, api_key="none", max_retries=0) as client:
            several = await asyncio.gather(*(client.chat.completions.create(**ASKED) for _ in range(8)))
            stream = await client.chat.completions.create(**ASKED, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            async with client.chat.completions.stream(**ASKED) as helper:
                helped = (await helper.get_final_completion()).choices[0].message.content or ""
            parsed = await client.chat.completions.parse(**{**ASKED, "max_tokens": 100}, response_format=Colour)
            completion = await client.completions.create(model=MODEL, prompt="Hello!", max_tokens=3, temperature=0)
            texts = [answer.choices[0].message.content for answer in several]
            return texts, "".join(pieces), helped, parsed.choices[0].message.parsed, completion.choices[0].text

    whole = client.chat.completions.create(**ASKED).choices[0].message.content
    texts, streamed, helped, colour, completion = asyncio.run(ask())
    assert [*texts, streamed, helped] == [whole] * 10
    assert isinstance(colour, Colour)
    again = client.completions.create(model=MODEL, prompt="Hello!", max_tokens=3, temperature=0)
    assert completion == again.choices[0].text


def test_a_busy_server_is_asked_again_when_it_says(busy: RunningServer) -> None:
    patient = openai.OpenAI(base_url=busy.base_url, api_key="none", max_retries=4)
    asked: Any = {"model": "org/name", "prompt": "Hello!", "max_tokens": 10, "extra_body": {"ignore_eos": True}}
    started_at = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: patient.completions.with_raw_response.create(**asked), range(2)))
    assert sorted(answer.retries_taken for answer in answers) == [0, 1]
    # The header says one second; without it the client would come back after half of one.
    assert time.monotonic() - started_at > 1
    assert sum("status=429" in line for line in busy.output) == 1


def test_a_busy_server_says_so_to_who_does_not_ask_again(busy: RunningServer) -> None:
    hasty = openai.OpenAI(base_url=busy.base_url, api_key="none", max_retries=0)
    asked: Any = {"model": "org/name", "prompt": "Hello!", "max_tokens": 40, "extra_body": {"ignore_eos": True}}
    stream = hasty.completions.create(**asked, stream=True)
    next(iter(stream))
    with pytest.raises(openai.RateLimitError) as refused:
        hasty.completions.create(**asked, stream=True)
    assert refused.value.response.headers["retry-after"] == "1"
    assert refused.value.code == "rate_limit_exceeded"
    stream.close()


def test_names_with_slashes(busy: RunningServer) -> None:
    client = openai.OpenAI(base_url=busy.base_url, api_key="none", max_retries=0)
    assert client.models.retrieve("org/name").id == "org/name"
    assert [model.id for model in client.models.list()] == ["org/name"]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("org/other")


def test_what_the_answer_tells_of_itself(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        **ASKED, service_tier="flex", extra_headers={"X-Request-Id": "mine"}, extra_body={"return_prompt_text": True}
    )
    assert (answer.id, answer.service_tier) == ("chatcmpl-mine", "default")
    assert answer._request_id == "mine"
    assert answer.system_fingerprint
    assert answer.model_extra is not None
    assert "Hello!" in answer.model_extra["prompt_text"]
    fingerprints = {chunk.system_fingerprint for chunk in client.chat.completions.create(**ASKED, stream=True)}
    assert fingerprints == {answer.system_fingerprint}


def test_paths_that_are_not_served(client: openai.OpenAI) -> None:
    for path in ("/embeddings", "/audio/speech", "/chat/completions/some-id", "/responses/resp_1/cancel"):
        with pytest.raises(openai.NotFoundError) as refused:
            client.post(path, cast_to=object, body={})
        assert refused.value.code == "unknown_url"
        assert path in refused.value.message


def test_images_are_refused(client: openai.OpenAI) -> None:
    part: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with pytest.raises(openai.BadRequestError, match="image_url") as refused:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": [part]}])
    assert refused.value.param == "messages[0].content[0].type"
