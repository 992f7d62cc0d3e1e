"""How the tests read this dialect's answers, and a small good request for its ledger."""

from __future__ import annotations

import json
from typing import Any

from portico.core.request import GenerationRequest, TextPrompt

LEDGER_REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "POST /generate": ("/generate", {"prompt": "hi"}),
    "structured_outputs": ("/generate", {"prompt": "hi", "structured_outputs": {"regex": "a"}}),
    "guided_decoding": ("/generate", {"prompt": "hi", "guided_decoding": {"regex": "a"}}),
    "POST /tokenize": ("/tokenize", {"messages": [{"role": "user", "content": "hi"}]}),
    "POST /detokenize": ("/detokenize", {"tokens": [1]}),
}


def reply_texts(request: GenerationRequest, body: bytes) -> list[str]:
    """The output of every choice."""
    (prompt,) = request.prompts
    assert isinstance(prompt, TextPrompt)
    return [text.removeprefix(prompt.text).removeprefix(" ") for text in json.loads(body)["text"]]


def stream_texts(request: GenerationRequest, body: bytes) -> list[str]:
    """The output of every choice: of the last line, or of all frames that end with NUL."""
    if body.endswith(b"\n"):
        return reply_texts(request, body.splitlines()[-1])
    frames = [json.loads(frame)["text"] for frame in body.split(b"\0")[:-1]]
    return ["".join(texts) for texts in zip(*frames, strict=True)]
