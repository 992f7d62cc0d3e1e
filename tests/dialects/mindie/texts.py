"""How the tests read this dialect's answers, and a small good request for each of its ledgers."""

from __future__ import annotations

import json
from typing import Any

from portico.core.request import GenerationRequest

LEDGER_REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "POST /infer and /infer_token": ("/infer", {"inputs": "hi"}),
    "Parameters of /infer and /infer_token": ("/infer", {"inputs": "hi"}),
    "POST /v1/tokenizer": ("/v1/tokenizer", {"inputs": "hi"}),
    "POST /v2/models/{model}/stopInfer": ("/v2/models/demo/stopInfer", {"id": "one"}),
}


def reply_texts(request: GenerationRequest, body: bytes) -> list[str]:
    """The text of the answer."""
    return [json.loads(body)["generated_text"]]


def stream_texts(request: GenerationRequest, body: bytes) -> list[str]:
    """The whole text in the last event; the texts before it are its beginning."""
    events = [json.loads(each.removeprefix("data: ")) for each in body.decode().split("\n\n")[:-1]]
    text = events[-1]["generated_text"]
    assert text.startswith("".join(event["token"]["text"] for event in events[:-1]))
    return [text]
