"""How the tests read this dialect's answers, and a small good request for each of its ledgers."""

from __future__ import annotations

import json
from typing import Any

from portico.core.request import GenerationRequest

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
}


def reply_texts(request: GenerationRequest, body: bytes) -> list[str]:
    """The text of the answer."""
    answer = json.loads(body)
    return [(answer[0] if isinstance(answer, list) else answer)["generated_text"]]


def stream_texts(request: GenerationRequest, body: bytes) -> list[str]:
    """The whole text in the last event; the texts of the tokens join to its end."""
    events = [json.loads(each.removeprefix("data:")) for each in body.decode().split("\n\n")[:-1]]
    assert all(event["generated_text"] is None for event in events[:-1])
    text = events[-1]["generated_text"]
    tokens = "".join(event["token"]["text"] for event in events if not event["token"]["special"])
    assert text.endswith(tokens)
    return [text]
