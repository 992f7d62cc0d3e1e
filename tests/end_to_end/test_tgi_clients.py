"""TGI's clients, told nothing but another address.

Numbers are those of `test_tgi_behaviours`. `text-generation` is the client that TGI's tests were written with. Its
metadata wants an older huggingface_hub than this server does, though it works with the newer one:
`pip install --no-deps text-generation==0.7.0` lets its tests run.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import GenerationError, HfHubHTTPError, OverloadedError, ValidationError

from tests.end_to_end.server import RunningServer, run_server

pytestmark = pytest.mark.xdist_group("demo")

# The old client uses what its libraries have since replaced.
_without_warnings = pytest.mark.filterwarnings("ignore::DeprecationWarning")
PROMPT = "My name is Olivier and I"
HELLO: Any = [{"role": "user", "content": "Hello!"}]


@pytest.fixture
def hub(demo_server: RunningServer) -> InferenceClient:
    os.environ["HF_HUB_OFFLINE"] = "1"
    return InferenceClient(demo_server.address, timeout=60)


@pytest.fixture(scope="module")
def scripted_server() -> Iterator[RunningServer]:
    """A server whose engine fails after some tokens, with little room."""
    with run_server("--engine", "scripted", "--fail-after", "3", "--max-input-tokens", "40") as server:
        yield server


def test_28_what_the_hub_client_does(hub: InferenceClient) -> None:
    greedy = hub.text_generation(PROMPT, max_new_tokens=10, return_full_text=False)
    assert hub.text_generation(PROMPT, max_new_tokens=10, return_full_text=True) == PROMPT + greedy
    # The client says nothing by itself, and posts to the root path, where TGI then gives the prompt too.
    assert hub.text_generation(PROMPT, max_new_tokens=10) == PROMPT + greedy
    sampled = hub.text_generation(PROMPT, max_new_tokens=10, do_sample=True, temperature=8.0, seed=3)
    assert sampled != greedy
    tokens = list(hub.text_generation(PROMPT, max_new_tokens=10, stream=True))
    assert "".join(tokens) == greedy
    stop = tokens[3]
    assert hub.text_generation(PROMPT, max_new_tokens=10, stop=[stop]).endswith(stop)


def test_28_what_the_hub_client_asks_of_the_server(demo_server: RunningServer) -> None:
    client = InferenceClient(demo_server.address, provider="hf-inference")
    assert client.get_endpoint_info()["max_total_tokens"] > 0
    assert client.health_check()


def test_28_details_and_streams_of_the_hub_client_agree(hub: InferenceClient) -> None:
    whole = hub.text_generation(PROMPT, max_new_tokens=10, details=True, decoder_input_details=True, top_n_tokens=2)
    stream = list(hub.text_generation(PROMPT, max_new_tokens=10, details=True, top_n_tokens=2, stream=True))
    assert whole.details is not None
    assert [(event.token.id, event.token.text) for event in stream] == [
        (token.id, token.text) for token in whole.details.tokens
    ]
    assert [len(event.top_tokens or []) for event in stream] == [2] * 10
    assert stream[-1].generated_text == whole.generated_text
    assert stream[-1].details is not None
    assert stream[-1].details.generated_tokens == whole.details.generated_tokens == 10


async def test_28_the_asynchronous_hub_client(demo_server: RunningServer) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    async with AsyncInferenceClient(demo_server.address, timeout=60) as client:
        whole = await client.text_generation(PROMPT, max_new_tokens=10, return_full_text=False)
        parts = [part async for part in await client.text_generation(PROMPT, max_new_tokens=10, stream=True)]
        assert "".join(parts) == whole
        answers = await asyncio.gather(*(client.text_generation(PROMPT, max_new_tokens=10) for _ in range(4)))
        assert set(answers) == {PROMPT + whole}
        with pytest.raises(ValidationError, match="strictly positive"):
            await client.text_generation(PROMPT, temperature=-1.0)


def test_30_errors_of_streams_reach_the_hub_client(demo_server: RunningServer, hub: InferenceClient) -> None:
    with pytest.raises(ValidationError, match="strictly positive"):
        list(hub.text_generation(PROMPT, temperature=-1.0, stream=True))
    with pytest.raises(ValidationError, match="<= 2"):
        hub.text_generation(PROMPT, best_of=3, do_sample=True)


def test_30_engine_failures_reach_the_hub_client(scripted_server: RunningServer) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    client = InferenceClient(scripted_server.address)
    with pytest.raises(GenerationError, match="failed after 3 tokens"):
        client.text_generation("hi", max_new_tokens=9)
    seen: list[str] = []
    with pytest.raises(GenerationError, match="failed after 3 tokens"):
        seen.extend(client.text_generation("hi", max_new_tokens=9, stream=True))
    with pytest.raises(ValidationError, match="must have less than 40 tokens"):
        client.text_generation("word " * 200, max_new_tokens=1)


def test_30_overload_is_told_in_kind() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    arguments = ("--engine", "scripted", "--max-num-seqs", "1", "--max-waiting", "0", "--token-delay", "0.02")
    with run_server(*arguments) as server:
        client = InferenceClient(server.address)
        running = client.text_generation("hi", max_new_tokens=200, stream=True)
        next(iter(running))
        with pytest.raises(OverloadedError):
            client.text_generation("hi")
        with pytest.raises(OverloadedError):
            list(client.text_generation("hi", stream=True))


def test_the_hub_client_chats_without_a_name(demo_server: RunningServer, hub: InferenceClient) -> None:
    """It then sends `dummy`, which is the served model; other names that nobody has are refused."""
    asked: Any = {"max_tokens": 8, "temperature": 0.0}
    whole = hub.chat_completion(HELLO, **asked)
    assert whole.model != "dummy"
    by_address = InferenceClient(base_url=demo_server.address, timeout=60)
    parts = [each.choices[0].delta.content or "" for each in by_address.chat_completion(HELLO, stream=True, **asked)]
    assert "".join(parts) == whole.choices[0].message.content
    with pytest.raises(HfHubHTTPError, match="404"):
        hub.chat_completion(HELLO, model="Dummy", **asked)


@_without_warnings
async def test_the_older_client_chats_without_a_name(demo_server: RunningServer) -> None:
    """It sends `tgi`."""
    import text_generation

    messages: Any = [text_generation.types.Message(**HELLO[0])]
    asked: Any = {"max_tokens": 8, "temperature": 0.0}
    whole = text_generation.Client(demo_server.address, timeout=60).chat(messages, **asked)
    assert whole.usage["completion_tokens"] == 8
    assert whole.model != "tgi"
    client = text_generation.AsyncClient(demo_server.address, timeout=60)
    assert (await client.chat(messages, **asked)).choices[0].message == whole.choices[0].message
    address = f"{demo_server.address}/v1/completions"
    for model, status in (("tgi", 200), ("dummy", 200), ("TGI", 404)):
        body = {"model": model, "prompt": PROMPT, "max_tokens": 2}
        assert httpx.post(address, json=body, timeout=60).status_code == status


@_without_warnings
def test_the_client_of_tgis_own_tests(demo_server: RunningServer) -> None:
    import text_generation

    client = text_generation.Client(demo_server.address, timeout=60)
    whole = client.generate(PROMPT, max_new_tokens=10, decoder_input_details=True)
    assert whole.details.generated_tokens == 10
    assert whole.details.prefill
    stream = list(client.generate_stream(PROMPT, max_new_tokens=10))
    assert stream[-1].generated_text == whole.generated_text
    assert [each.token.id for each in stream] == [each.id for each in whole.details.tokens]
    assert client.generate(PROMPT, best_of=2, do_sample=True, max_new_tokens=3).details.best_of_sequences
    from text_generation import errors

    long = "word " * 600
    with pytest.raises(errors.ValidationError):
        client.generate(long, max_new_tokens=10_000)
    with pytest.raises(errors.ValidationError):
        list(client.generate_stream(long, max_new_tokens=10_000))


@_without_warnings
async def test_the_asynchronous_client_of_tgis_own_tests(demo_server: RunningServer) -> None:
    import text_generation

    client = text_generation.AsyncClient(demo_server.address, timeout=60)
    whole = await client.generate(PROMPT, max_new_tokens=5)
    stream = [event async for event in client.generate_stream(PROMPT, max_new_tokens=5)]
    assert stream[-1].generated_text == whole.generated_text
