"""The golden answers, read with the types of the official client."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response
from openai.types.responses.input_token_count_response import InputTokenCountResponse
from pydantic import BaseModel

from portico.core.errors import InvalidParameter, MethodNotAllowed
from tests.dialects.golden import Case, decode, find_cases, load_dialect

_TYPES: dict[str, type[BaseModel]] = {
    "chat.completion": ChatCompletion,
    "chat.completion.chunk": ChatCompletionChunk,
    "text_completion": Completion,
    "model": Model,
    "response": Response,
    "response.input_tokens": InputTokenCountResponse,
}


def _answers() -> list[Any]:
    return [
        pytest.param(answer, id=f"{case.name}-{number}")
        for case in find_cases()
        if case.dialect == "openai"
        for number, answer in enumerate(_objects(case))
    ]


def _objects(case: Case) -> list[dict[str, Any]]:
    content = case.content
    found = [content["response"]] if "response" in content else []
    found += [each for each in content.get("stream", []) if isinstance(each, dict)]
    return [each for one in found for each in one.get("data", [one]) if "error" not in each]


@pytest.mark.parametrize("answer", _answers())
def test_the_official_types_take_it(answer: dict[str, Any]) -> None:
    kind = _TYPES[answer["object"]]
    choices = answer.get("choices", [])
    if kind is Completion and any(choice["finish_reason"] is None for choice in choices):
        # The type describes whole answers; chunks have no reason before their choice ends.
        answer = {**answer, "choices": [{**choice, "finish_reason": "stop"} for choice in choices]}
    if kind is Completion and any("top_logprobs" in (choice["logprobs"] or {}) for choice in choices):
        # It also knows no null for the first token of an echoed prompt.
        answer = json.loads(json.dumps(answer).replace("[null, ", "[").replace("[null]", "[]"))
    kind.model_validate(answer, strict=True)


def test_prompts_are_counted() -> None:
    with pytest.raises(InvalidParameter, match="at most 1024 prompts, got 1025"):
        decode(load_dialect("openai"), "/v1/completions", json.dumps({"prompt": ["a"] * 1025}).encode())


def test_allowed_methods_are_named() -> None:
    refusal = load_dialect("openai").refuse(MethodNotAllowed("PUT", "/v1/models", ("GET", "HEAD")))
    assert (refusal.status, refusal.headers) == (405, {"Allow": "GET, HEAD"})


def test_the_client_is_told_not_to_buffer() -> None:
    exchange = decode(load_dialect("openai"), "/v1/completions", b'{"prompt":"a","stream":true}')
    encoder = exchange.encoder()
    assert encoder.media_type == "text/event-stream"
    # Readers of events skip comments.
    assert encoder.keep_alive == b": keep-alive\n\n"
    assert encoder.headers == {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
