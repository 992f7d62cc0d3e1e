"""The official clients, told nothing but another address."""

from __future__ import annotations

import os

import openai
import pytest
from huggingface_hub import InferenceClient

from tests.end_to_end.server import RunningServer

pytestmark = pytest.mark.xdist_group("demo")


@pytest.fixture
def client(demo_server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=demo_server.base_url, api_key="none", max_retries=0)


def test_openai_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="qwen-72b",
        messages=[{"role": "user", "content": "光的三原色是什么"}],
        n=3,
        temperature=0.3,
        logprobs=True,
        top_logprobs=2,
        max_tokens=60,
    )
    assert len(answer.choices) == 3
    for choice in answer.choices:
        assert choice.message.content is not None
        assert "红" in choice.message.content
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        assert all(len(entry.top_logprobs) == 2 for entry in choice.logprobs.content)
    assert answer.usage is not None
    assert answer._request_id


def test_openai_stream_with_usage_and_choices_in_order(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="qwen-72b",
        messages=[{"role": "user", "content": "Hello!"}],
        n=2,
        stream_options={"include_usage": True},
    ) as stream:
        completion = stream.get_final_completion()
    assert [choice.message.role for choice in completion.choices] == ["assistant", "assistant"]
    assert completion.usage is not None
    assert completion.usage.completion_tokens > 2


def test_openai_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="qwen-72b", prompt=["My name is Olivier and I", "保持健康的方法"], echo=True, logprobs=2, max_tokens=12
    )
    assert answer.choices[0].text.startswith("My name is Olivier and I")
    logprobs = answer.choices[1].logprobs
    assert logprobs is not None
    assert logprobs.token_logprobs is not None
    assert logprobs.token_logprobs[0] is None


def test_openai_models(client: openai.OpenAI) -> None:
    assert "qwen-72b" in [model.id for model in client.models.list()]
    assert client.models.retrieve("qwen-72b").id == "qwen-72b"


def test_openai_errors(client: openai.OpenAI) -> None:
    messages: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "x"}]
    with pytest.raises(openai.NotFoundError, match="`nothing` does not exist"):
        client.chat.completions.create(model="nothing", messages=messages)
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.chat.completions.create(model="qwen-72b", messages=messages, temperature=9)
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        client.chat.completions.create(model="qwen-72b", messages=[{"role": "user", "content": "长" * 5000}])
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="qwen-72b", input="x")


def test_hub_text_generation_details_and_stream(demo_server: RunningServer) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    client = InferenceClient(demo_server.address)
    whole = client.text_generation("保持健康的方法", max_new_tokens=24, details=True, decoder_input_details=True)
    events = list(client.text_generation("保持健康的方法", max_new_tokens=24, details=True, stream=True))
    assert whole.details is not None
    assert whole.details.generated_tokens == len(events)
    assert [event.token.id for event in events] == [token.id for token in whole.details.tokens]
    assert events[-1].generated_text == whole.generated_text
    assert events[-1].details is not None
    assert events[-1].details.finish_reason == whole.details.finish_reason
    assert len(whole.details.prefill) > 1
    stopped = client.text_generation(
        "My name is Olivier and I", max_new_tokens=20, stop=["photographer"], do_sample=True, seed=1, temperature=0.5
    )
    assert stopped.endswith("photographer")


def test_hub_errors(demo_server: RunningServer) -> None:
    from huggingface_hub.errors import ValidationError

    with pytest.raises(ValidationError, match="temperature"):
        InferenceClient(demo_server.address).text_generation("x", temperature=-1.0)


def test_cached_prompts_are_shared_only_with_the_same_salt(client: openai.OpenAI) -> None:
    def count_cached(salt: str) -> int:
        answer = client.completions.create(
            model="qwen-72b", prompt="保持健康的方法" * 8, max_tokens=1, extra_body={"cache_salt": salt}
        )
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        return answer.usage.prompt_tokens_details.cached_tokens or 0

    assert [count_cached("mine"), count_cached("mine") > 16, count_cached("yours")] == [0, True, 0]
