"""Answers of megabytes, to a few requests that are nothing but long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reliability.check import Result, Settings
from reliability.oracle import watch
from reliability.server import run_server
from reliability.spoken import MODEL

_SENTENCE = "The quick brown fox jumps over the lazy dog. "
# A context that nothing here fills.
_FLAGS = ("--max-model-len", "4000000")
# What the interpreter keeps of the objects of the largest one, several times over for the threads that write them.
_MAX_GROWTH = 256 << 20
_WITHIN = 20.0
_SIZE = 40_000


async def check(settings: Settings) -> Result:
    """Each is answered as it should be, while a stream and probes of liveness go on beside."""
    problems: list[str] = []
    num_bytes = 0
    async with (
        run_server(settings, *_FLAGS) as server,
        watch(server, _MAX_GROWTH, slack=settings.slack) as oracle,
    ):
        for what, path, body in _requests(_SIZE):
            answer = await server.request("POST", path, body, timeout=_WITHIN * settings.slack)
            problems += oracle.judge(answer, what, statuses=range(200, 201), within=_WITHIN * settings.slack)
            num_bytes = max(num_bytes, len(answer.body))
    slowest = max(oracle.live_seconds) * 1000
    figure = f"answers of up to {num_bytes / 2**20:.0f} MiB: {oracle.summary()}, slowest probe {slowest:.0f} ms"
    return Result.judge(figure, problems + oracle.problems)


def _requests(size: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Several tokens of the answer for each unit of size."""
    text = _SENTENCE * (size // 3)
    yield "tokens of a text with their places", "/tokenize", {"inputs": text}
    yield "tokens of a text with their spellings", "/tokenize", {"prompt": text, "return_token_strs": True}
    yield "text of many ids", "/detokenize", {"tokens": [600] * (size * 10)}
    asked = {"model": MODEL, "prompt": [7] * size, "max_tokens": 1}
    for is_streamed in (False, True):
        yield "an echo", "/v1/completions", {**asked, "echo": True, "logprobs": 2, "stream": is_streamed}
    details = {"max_new_tokens": 1, "details": True, "decoder_input_details": True}
    yield "details of a prompt", "/generate", {"inputs": _SENTENCE * (size // 12), "parameters": details}
