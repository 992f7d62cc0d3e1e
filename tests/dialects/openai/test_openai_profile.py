"""What the operator decides, as far as requests say nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from portico.core.dialect import Dialect
from portico.core.model import SamplingDefaults
from portico.core.request import ChatPrompt, GenerationRequest
from portico.dialects import openai
from tests.dialects.golden import decode

ADVISED = openai.dialect(
    openai.Profile(
        SamplingDefaults(temperature=0.7, top_k=20, top_p=0.8, min_p=0.1, repetition_penalty=1.05, max_tokens=64),
        trusts_chat_template=True,
    )
)


def request(dialect: Dialect, path: str, **fields: Any) -> GenerationRequest:
    body = {"prompt": "hi"} if path == "/v1/completions" else {"messages": [{"role": "user", "content": "hi"}]}
    decoded: GenerationRequest = decode(dialect, path, json.dumps({**body, **fields}).encode()).request
    return decoded


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/invocations"])
def test_advice_applies_where_a_request_says_nothing(path: str) -> None:
    sampling = request(ADVISED, path).sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.7, 20, 0.8)
    assert (sampling.min_p, sampling.repetition_penalty) == (0.1, 1.05)
    sampling = request(ADVISED, path, temperature=0, top_k=-1, top_p=1, min_p=0, repetition_penalty=1).sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0, 0, 1)
    assert (sampling.min_p, sampling.repetition_penalty) == (0, 1)
    sampling = request(openai.dialect(), path).sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (1, 0, 1)


def test_advice_limits_the_output() -> None:
    path = "/v1/chat/completions"
    assert request(ADVISED, path).stopping.max_tokens == 64
    assert request(ADVISED, path, max_tokens=100).stopping.max_tokens == 64
    assert request(ADVISED, path, max_tokens=10).stopping.max_tokens == 10
    assert request(openai.dialect(), path).stopping.max_tokens is None


def test_a_trusted_template() -> None:
    (prompt,) = request(ADVISED, "/v1/chat/completions", chat_template="mine").prompts
    assert isinstance(prompt, ChatPrompt)
    assert prompt.template == "mine"
