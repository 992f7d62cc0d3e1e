"""What a request costs with the length of what it holds: lists and texts near the limits, and refused ones beyond."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from reliability.check import Check, Result, Settings
from reliability.server import Server, run_server
from reliability.spoken import MODEL

# Four times the input is measured, as less than twice the noise is left then; twice may cost 2.3 times as much.
_FACTOR, _MAX_RATIO = 4, 2.3**2
_NUM_TRIALS, _NUM_ROUNDS = 3, 8
# A context that nothing here fills.
_FLAGS = ("--max-model-len", "4000000", "--max-waiting", "2000")
# The demo model's own takes no tools.
_TEMPLATE = "{{ tools | tojson }}{% for message in messages %}{{ message.content }}{% endfor %}"
_TOOL_FLAGS = ("--tool-call-parser", "hermes", "--chat-template")
_MESSAGE = {"role": "user", "content": "Hello"}
_CHAT = {"model": MODEL, "max_tokens": 1, "messages": [_MESSAGE]}
_SENTENCE = "The quick brown fox. "
_SCHEMA = {"type": "object", "properties": {f"field_{each}": {"type": "string"} for each in range(5)}}
_CALL = {"id": "call", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
_INFER_TEXT = {"name": "text_input", "datatype": "BYTES"}


@dataclass(frozen=True)
class Crowd:
    """A request of any size: `make` gives the body with so many of what it is about, of which `size` is the most."""

    wire: str
    what: str
    path: str
    size: int
    make: Callable[[int], dict[str, Any]]


def _tools(number: int) -> list[Any]:
    return [{"type": "function", "function": {"name": f"f{each}", "parameters": _SCHEMA}} for each in range(number)]


def _history(number: int) -> list[Any]:
    turn = [
        {"role": "user", "content": "ask"},
        {"role": "assistant", "content": None, "tool_calls": [_CALL]},
        {"role": "tool", "tool_call_id": "call", "content": "told"},
    ]
    return [*turn * (number // 3), {"role": "user", "content": "end"}]


def _blocks(number: int) -> list[Any]:
    return [{"type": "text", "text": f"part {each} "} for each in range(number)]


def _crowds() -> Iterator[Crowd]:
    chat, completions = "/v1/chat/completions", "/v1/completions"
    infer, native = f"/v2/models/{MODEL}/infer", {"max_new_tokens": 1}
    yield Crowd("openai", "messages", chat, 4096, lambda size: {**_CHAT, "messages": [_MESSAGE] * size})
    yield Crowd("openai", "parts", chat, 4000, lambda size: {**_CHAT, "messages": _turn(size)})
    yield Crowd("openai", "calls", chat, 2000, lambda size: {**_CHAT, "messages": _history(size), "tools": _tools(1)})
    yield Crowd("openai", "tools", chat, 512, lambda size: {**_CHAT, "tools": _tools(size)})
    yield Crowd("openai", "refused messages", chat, 200_000, lambda size: {**_CHAT, "messages": [{}] * size})
    yield Crowd("openai", "refused stop strings", chat, 300_000, lambda size: {**_CHAT, "stop": ["s"] * size})
    yield Crowd("openai", "prompts", completions, 240, lambda size: _prompt([f"hello {each}" for each in range(size)]))
    yield Crowd("openai", "ids", completions, 400_000, lambda size: _prompt([7] * size))
    yield Crowd("openai", "text", completions, 40_000, lambda size: _prompt(_SENTENCE * size))
    yield Crowd("openai", "one word", completions, 400_000, lambda size: _prompt("a" * size))
    yield Crowd("openai", "output", completions, 8000, lambda size: {**_prompt("Hello"), **_output("max_tokens", size)})
    yield Crowd("openai", "items", "/v1/responses", 4000, lambda size: {"model": MODEL, "input": _turn(size)})
    yield Crowd("anthropic", "blocks", "/v1/messages", 4000, lambda size: {**_CHAT, "messages": _turn(size)})
    yield Crowd("anthropic", "system", "/v1/messages", 4000, lambda size: {**_CHAT, "system": _blocks(size)})
    yield Crowd("vllm", "text", "/generate", 40_000, lambda size: {**_prompt(_SENTENCE * size)})
    yield Crowd("vllm", "messages", "/tokenize", 4096, lambda size: {"messages": [_MESSAGE] * size})
    yield Crowd("vllm", "ids", "/detokenize", 400_000, lambda size: {"tokens": [600] * size})
    yield Crowd("tgi", "text", "/generate", 40_000, lambda size: {"inputs": _SENTENCE * size, "parameters": native})
    yield Crowd("tgi", "details", "/generate", 8000, lambda size: {"inputs": "a", "parameters": _details(size)})
    yield Crowd("triton", "text", infer, 40_000, lambda size: _tensors([_SENTENCE * size]))
    yield Crowd("triton", "refused texts", infer, 200_000, lambda size: _tensors(["a"] * size))
    yield Crowd("mindie", "text", "/infer", 40_000, lambda size: {"inputs": _SENTENCE * size, "parameters": native})
    yield Crowd("mindie", "ids", "/infer_token", 400_000, lambda size: {"input_id": [7] * size, "parameters": native})


def _turn(size: int) -> list[Any]:
    return [{"role": "user", "content": [{**each, "type": "text"} for each in _blocks(size)]}]


def _prompt(prompt: object) -> dict[str, Any]:
    return {"model": MODEL, "prompt": prompt, "max_tokens": 1}


def _output(name: str, size: int) -> dict[str, Any]:
    return {name: size, "ignore_eos": True}


def _details(size: int) -> dict[str, Any]:
    return {**_output("max_new_tokens", size), "details": True}


def _tensors(texts: list[str]) -> dict[str, Any]:
    return {"inputs": [{**_INFER_TEXT, "shape": [len(texts)], "data": texts}], "parameters": {"max_tokens": 1}}


def _cpu_seconds(server: Server) -> float:
    """Of all threads, by the scheduler's count, which is finer than ticks."""
    nanoseconds = 0
    for each in os.listdir(f"/proc/{server.pid}/task"):
        nanoseconds += int(Path(f"/proc/{server.pid}/task/{each}/schedstat").read_text().split()[0])
    return nanoseconds / 1e9


async def _cost(server: Server, crowd: Crowd, size: int, settings: Settings) -> tuple[float, int]:
    """The processor time that it takes at least, and the status."""
    found: list[tuple[float, int]] = []
    body = crowd.make(size)
    for _ in range(_NUM_TRIALS):
        before = _cpu_seconds(server)
        answer = await server.request("POST", crowd.path, body, timeout=60.0 * settings.slack)
        found.append((_cpu_seconds(server) - before, answer.status))
    return min(found)


async def _ratio(server: Server, crowd: Crowd, settings: Settings) -> tuple[float, list[str]]:
    """How much more four times the input costs, by the best of a few rounds."""
    best = float("inf")
    for _ in range(_NUM_ROUNDS):
        small, status = await _cost(server, crowd, crowd.size // _FACTOR, settings)
        large, large_status = await _cost(server, crowd, crowd.size, settings)
        expected = 400 if "refused" in crowd.what else 200
        if (status, large_status) != (expected, expected):
            return best, [f"{crowd.wire}, {crowd.what}: status {status}, and {large_status} for more"]
        best = min(best, large / small)
        if best <= _MAX_RATIO:
            return best, []
    return best, [f"{crowd.wire}, {crowd.what}: {_FACTOR} times the input costs {best:.1f} times as much"]


async def _check_growth(settings: Settings) -> Result:
    template = settings.directory / "tools.jinja"
    template.write_text(_TEMPLATE, encoding="utf-8")
    crowds = list(islice(_crowds(), 0, None, settings.pick(1, 2)))
    problems: list[str] = []
    ratios: dict[str, float] = {}
    async with run_server(settings, *_FLAGS, *_TOOL_FLAGS, str(template)) as server:
        for crowd in crowds:
            ratio, found = await _ratio(server, crowd, settings)
            ratios[f"{crowd.wire}'s {crowd.what}"] = ratio
            problems += found
    worst = max(ratios, key=lambda name: ratios[name])
    return Result.judge(
        f"{len(crowds)} kinds of crowds in {len({each.wire for each in crowds})} dialects: twice costs at most "
        f"{ratios[worst] ** 0.5:.2f} times as much ({worst})",
        problems,
    )


CHECKS = (
    Check(
        "X12",
        "Bad input",
        "lists and texts near the limits, and beyond them",
        "twice the input costs at most 2.3 times the processor time",
        _check_growth,
    ),
)
