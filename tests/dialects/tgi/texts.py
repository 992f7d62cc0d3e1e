"""How the tests read this dialect's answers, and a small good request for each of its ledgers."""

from __future__ import annotations

import json
from typing import Any

from portico.core.request import GenerationRequest

# The flavour with TGI's OpenAI routes too.
LEDGER_PROFILE = "V1"
LEDGER_REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "POST /generate and /tokenize": ("/generate", {"inputs": "hi"}),
    "POST /generate_stream": ("/generate_stream", {"inputs": "hi"}),
    "POST / and /invocations": ("/", {"inputs": "hi"}),
    "Parameters of /, /invocations, /generate, /generate_stream and /tokenize": ("/generate", {"inputs": "hi"}),
    "parameters.grammar": ("/generate", {"inputs": "hi", "parameters": {"grammar": {"type": "regex", "value": "a"}}}),
    "parameters.grammar.value of the type json_schema": (
        "/generate",
        {
            "inputs": "hi",
            "parameters": {"grammar": {"type": "json_schema", "value": {"schema": {"properties": {}}}}},
        },
    ),
    "POST /chat_tokenize": ("/chat_tokenize", {"messages": [{"role": "user", "content": "hi"}]}),
    "POST /vertex": ("/vertex", {"instances": [{"inputs": "hi"}]}),
    "Instances of /vertex": ("/vertex", {"instances": [{"inputs": "hi"}]}),
    "POST /v1/chat/completions (--profile tgi)": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "hi"}]},
    ),
    "POST /v1/completions (--profile tgi)": ("/v1/completions", {"prompt": "hi"}),
}


def reply_texts(request: GenerationRequest, body: bytes) -> list[str]:
    """The text of the answer, or of each choice of an OpenAI route."""
    answer = json.loads(body)
    if "choices" in answer:
        return [_text(each.get("message", each)) for each in answer["choices"]]
    return [(answer[0] if isinstance(answer, list) else answer)["generated_text"]]


def stream_texts(request: GenerationRequest, body: bytes) -> list[str]:
    """The whole text in the last event; the texts of the tokens join to its end. Chunks are joined."""
    blocks = body.decode().split("\n\n")[:-1]
    if blocks[-1] == "data: [DONE]":
        return _chunk_texts([json.loads(each.removeprefix("data: ")) for each in blocks[:-1]])
    events = [json.loads(each.removeprefix("data:")) for each in blocks]
    assert all(event["generated_text"] is None for event in events[:-1])
    text = events[-1]["generated_text"]
    tokens = "".join(event["token"]["text"] for event in events if not event["token"]["special"])
    assert text.endswith(tokens)
    return [text]


def _chunk_texts(chunks: list[dict[str, Any]]) -> list[str]:
    texts: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            shown = choice.get("delta", choice)
            texts[choice["index"]] = texts.get(choice["index"], "") + _text(shown)
    return [texts[index] for index in sorted(texts)]


def _text(shown: dict[str, Any]) -> str:
    return (shown["text"] if "text" in shown else shown.get("content")) or ""
