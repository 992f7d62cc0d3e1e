"""How the tests read this dialect's answers, and a small good request for each of its ledgers."""

from __future__ import annotations

import json
from typing import Any

from portico.core.request import GenerationRequest

_BODY = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
LEDGER_REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "POST /v1/messages": ("/v1/messages", _BODY),
    "output_config": ("/v1/messages", _BODY),
    "POST /v1/messages/count_tokens": ("/v1/messages/count_tokens", {"messages": _BODY["messages"]}),
}


def reply_texts(request: GenerationRequest, body: bytes) -> list[str]:
    """The text of the one choice: of every block that has text."""
    return ["".join(block.get("text", "") for block in json.loads(body)["content"])]


def stream_texts(request: GenerationRequest, body: bytes) -> list[str]:
    """The text of the one choice, from the deltas."""
    events = [json.loads(frame.split("\ndata: ")[1]) for frame in body.decode().split("\n\n") if frame]
    assert [events[0]["type"], events[-1]["type"]] == ["message_start", "message_stop"]
    return ["".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")]
