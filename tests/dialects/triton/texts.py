"""How the tests read this dialect's answers, and a small good request for its ledger."""

from __future__ import annotations

import json
from typing import Any

from portico.core.request import GenerationRequest, TextPrompt

_PATH = "/v2/models/demo/generate"
_INFER_PATH = "/v2/models/demo/infer"
_INFER_BODY = {"inputs": [{"name": "text_input", "shape": [1], "datatype": "BYTES", "data": ["hi"]}]}
LEDGER_REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "POST /v2/models/{model}[/versions/{version}]/generate and generate_stream": (_PATH, {"text_input": "hi"}),
    "POST /v2/models/{model}[/versions/{version}]/infer": (_INFER_PATH, _INFER_BODY),
    "structured_outputs": (_PATH, {"text_input": "hi", "structured_outputs": {"regex": "a"}}),
    "Fields of infer": (_INFER_PATH, _INFER_BODY),
}


def reply_texts(request: GenerationRequest, body: bytes) -> list[str]:
    """The output of every choice, without the prompt."""
    (prompt,) = request.prompts
    assert isinstance(prompt, TextPrompt)
    return [text.removeprefix(prompt.text) for text in _texts(json.loads(body))]


def stream_texts(request: GenerationRequest, body: bytes) -> list[str]:
    """The output of every choice, from all events."""
    events = [event.removeprefix("data:") for event in body.decode().split("\n\n")[:-1]]
    if len(events) == 1:
        return reply_texts(request, events[0].encode())
    pieces = [_texts(json.loads(event)) for event in events]
    return ["".join(texts) for texts in zip(*pieces, strict=True)]


def _texts(response: dict[str, Any]) -> list[str]:
    texts = response["outputs"][0]["data"] if "outputs" in response else response["text_output"]
    return texts if isinstance(texts, list) else [texts]
