"""How the tests read this dialect's answers, and a small good request for each of its ledgers."""

from __future__ import annotations

import json
from typing import Any

from portico.core.request import GenerationRequest

_CHAT = {"messages": [{"role": "user", "content": "hi"}]}
_SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}
_RESPONSE_SCHEMA = {"type": "json_schema", "name": "a", "schema": {}}
LEDGER_REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "POST /v1/chat/completions": ("/v1/chat/completions", _CHAT),
    "POST /v1/completions": ("/v1/completions", {"prompt": "hi"}),
    "response_format": ("/v1/chat/completions", {**_CHAT, "response_format": {"type": "text"}}),
    "response_format.json_schema": ("/v1/chat/completions", {**_CHAT, "response_format": _SCHEMA}),
    "structured_outputs": ("/v1/completions", {"prompt": "hi", "structured_outputs": {"regex": "a"}}),
    "stream_options": ("/v1/chat/completions", {**_CHAT, "stream": True}),
    "POST /v1/responses": ("/v1/responses", {"input": "hi"}),
    "reasoning": ("/v1/responses", {"input": "hi"}),
    "text": ("/v1/responses", {"input": "hi"}),
    "text.format": ("/v1/responses", {"input": "hi", "text": {"format": _RESPONSE_SCHEMA}}),
    "POST /v1/responses/input_tokens": ("/v1/responses/input_tokens", {"input": "hi"}),
}


def reply_texts(request: GenerationRequest, body: bytes) -> list[str]:
    """The text of every choice, in the order of the answer."""
    answer = json.loads(body)
    if "output" in answer:
        return [_response_text(answer)]
    return [_text(choice, "message") for choice in json.loads(body)["choices"]]


def stream_texts(request: GenerationRequest, body: bytes) -> list[str]:
    """The text of every choice, by index."""
    if body.startswith(b"event: "):
        told = [json.loads(event.split("\ndata: ")[1]) for event in body.decode().split("\n\n") if event]
        assert [event["sequence_number"] for event in told] == list(range(len(told)))
        text = "".join(event["delta"] for event in told if event["type"] == "response.output_text.delta")
        assert text == _response_text(told[-1]["response"])
        return [text]
    texts: dict[int, str] = {}
    events = body.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    for event in events[:-2]:
        for choice in json.loads(event.removeprefix("data: "))["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + _text(choice, "delta")
    return [texts[index] for index in sorted(texts)]


def _text(choice: dict[str, Any], key: str) -> str:
    text = (choice[key].get("content") or "") if key in choice else choice["text"]
    assert isinstance(text, str)
    return text


def _response_text(response: dict[str, Any]) -> str:
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part["text"] for item in messages for part in item["content"])
