"""Requests that are harmless one by one: the same name twice, a broken one behind a good one, ever new grammars."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

from reliability.check import Result, Settings
from reliability.client import Answer, End, encode_request, exchange
from reliability.oracle import LIVE
from reliability.server import Server
from reliability.spoken import CHAT, COMPLETION, MODEL, TRITON, VLLM
from reliability.traffic import in_ms, learn

_MAX_NAME = 128
_GROWTH = 24 << 20
# A step of a stream may hold up others for so long.
_MAX_STALL = 0.05
_MARKER = "<tool_call>"
_LONG_OUTPUT = 520_000


async def check_names(server: Server, settings: Settings) -> Result:
    """Row A13: requests at the same time with one name; names that no header or log can have."""
    problems: list[str] = []
    num_sent = 0
    for dialect, name_of in ((CHAT, {}), (COMPLETION, {}), (VLLM, {"request_id": "same"}), (TRITON, {"id": "same"})):
        for learnt in await learn(server, 32, 2, (dialect,), is_streamed=False, headers=(("x-request-id", "same"),)):
            body = {**dialect.body(learnt.prompt, 32, False), **(name_of if dialect is TRITON else {})}
            message = encode_request("POST", dialect.path[0], body, dict(learnt.headers))
            answers = await asyncio.gather(*(exchange(server.address, message) for _ in range(4)))
            num_sent += len(answers)
            for answer in answers:
                if answer.status != 200 or learnt.read(answer.body) != learnt.expected:
                    problems.append(f"{dialect.name}, one of four of the same name: {answer.status} {answer.text[:80]}")
    names: tuple[tuple[str, bytes], ...] = (
        ("1 MB", b"x" * 1_000_000),
        ("64 kB", b"x" * 60_000),
        ("129 characters", b"x" * 129),
        ("a line break", b"a\r\n b"),
        ("a bare line break", b"a\nx-injected: 1"),
        ("a carriage return", b"a\rx-injected: 1"),
        ("NUL", b"a\x00b"),
        ("an escape", b"\x1b[31mred"),
        ("no ASCII", "名".encode()),
    )
    for label, name in names:
        answer = await _send_named(server, name)
        num_sent += 1
        shown = answer.headers.get("x-request-id", "")
        if answer.end is not End.COMPLETE or answer.status not in (200, 400, 431):
            problems.append(f"a name of {label}: {answer.end.value}, status {answer.status}")
        if "x-injected" in answer.headers or len(shown) > _MAX_NAME or not re.fullmatch(r"[!-~]*", shown):
            problems.append(f"a name of {label} came back as {shown[:40]!r}")
    return Result.judge(f"{num_sent} with a name of the client's", problems)


async def _send_named(server: Server, name: bytes) -> Answer:
    body = json.dumps({"model": MODEL, "prompt": "hi", "max_tokens": 1}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    head += b"content-length: %d\r\nx-request-id: " % len(body)
    return await exchange(server.address, head + name + b"\r\n\r\n" + body)


async def check_after_each_other(server: Server) -> Result:
    """Rows B4 and E9: a good request and a broken one after it, beside it and before it; only the broken one fails."""
    problems: list[str] = []
    good = {"model": MODEL, "prompt": "hi", "max_tokens": 16, "temperature": 0, "guided_regex": "[a-c]{4}"}
    broken = [{**good, **each} for each in BROKEN]
    bodies = [body for each in broken for body in (good, each, each, good)]
    answers = [await server.request("POST", "/v1/completions", body) for body in bodies]
    answers += await asyncio.gather(*(server.request("POST", "/v1/completions", body) for body in bodies))
    for body, answer in zip(bodies * 2, answers, strict=True):
        if body is not good:
            if answer.status != 400:
                problems.append(f"{json.dumps(body)[-80:]}: status {answer.status}: {answer.text[:80]}")
        elif answer.status != 200 or not re.fullmatch("[a-c]{4}", _text(answer)):
            problems.append(f"a good request beside a broken one: {answer.status} {answer.text[:80]}")
    return Result.judge(f"{len(answers)} good and broken in turn", problems)


# What is wrong with a grammar, or with what else the engine is asked for.
BROKEN: tuple[Mapping[str, Any], ...] = (
    {"guided_regex": "("},
    {"guided_regex": None, "guided_json": {"type": "bogus"}},
    {"guided_regex": None, "guided_grammar": "root ::= nothing"},
    {"guided_regex": "[x-z]{4}", "allowed_token_ids": [1, 2]},
    {"guided_regex": None, "temperature": -1},
    {"guided_regex": None, "max_tokens": -5},
    {"guided_regex": None, "logit_bias": {"99999999": 1}},
)


async def check_many_schemas(server: Server, settings: Settings) -> Result:
    """Row B6: thousands of small schemas, each of them new; memory comes to rest and nothing is written to the disk."""
    number = settings.pick(10_000, 400)
    problems: list[str] = []
    # Caches are full, and what an interpreter keeps of its first objects is kept, after the first part.
    before = 0
    written = _written_bytes(server)
    for start in range(0, number, 8):
        if start >= number // 2 and not before:
            before = server.tree_resident_bytes()
        bodies = [_schema_body(index) for index in range(start, min(start + 8, number))]
        answers = await asyncio.gather(*(server.request("POST", "/v1/completions", body) for body in bodies))
        problems += [f"status {each.status}: {each.text[:80]}" for each in answers if each.status != 200]
    growth = server.tree_resident_bytes() - before
    if growth > _GROWTH:
        problems.append(f"the server grew by {growth / 2**20:.0f} MiB with the second half of the schemas")
    if (on_disk := _written_bytes(server) - written) > number * 2048:
        problems.append(f"{on_disk} bytes were written, far more than a log")
    return Result.judge(f"{number} schemas, {growth / 2**20:+.1f} MiB with the second half", problems[:5])


def _schema_body(index: int) -> dict[str, Any]:
    schema = {"type": "object", "properties": {f"p{index}": {"enum": [index]}}, "required": [f"p{index}"]}
    return {"model": MODEL, "prompt": "hi", "max_tokens": 2, "guided_json": {**schema, "additionalProperties": False}}


def _written_bytes(server: Server) -> int:
    """What server and engine have given to the disk; 0 where the system does not say."""
    total = 0
    for pid in (server.pid, server.engine_pid):
        try:
            with open(f"/proc/{pid}/io", encoding="ascii") as file:
                fields = dict(line.split(": ") for line in file.read().splitlines())
        except OSError:
            continue
        total += int(fields["write_bytes"])
    return total


async def check_markers(server: Server, settings: Settings, token_ids: tuple[int, ...]) -> Result:
    """Row B10: a model that opens calls for ever; its text is kept, and no step of it holds up others.

    The server's script is `token_ids`, which spell one marker.
    """
    size = settings.pick(_LONG_OUTPUT, _LONG_OUTPUT // 4)
    problems: list[str] = []
    figures: list[str] = []
    seconds: dict[int, float] = {}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    for length in (size // 2, size):
        for is_streamed in (False, True):
            count = length // len(_MARKER)
            # The script's end is a token that is no text, and with `ignore_eos` it begins again behind it.
            body = {**CHAT.body("hi", count * (len(token_ids) + 1), is_streamed), "ignore_eos": True, "tools": [tool]}
            started = server.cpu_seconds()
            task = asyncio.create_task(server.request("POST", CHAT.path[0], body, timeout=300))
            stall = await _longest_stall(server, task)
            answer = task.result()
            seconds[length] = seconds.get(length, 0.0) + server.cpu_seconds() - started
            text = _content(answer, is_streamed)
            if answer.status != 200 or text != _MARKER * count:
                problems.append(f"{length} characters of markers: status {answer.status}, {len(text)} came back")
            figures.append(f"{in_ms(stall)}")
            if stall > _MAX_STALL * settings.slack:
                problems.append(f"a probe beside {length} characters of markers waited for {stall:.2f} s")
    ratio = seconds[size] / max(seconds[size // 2], 0.01)
    if ratio > 3:
        problems.append(f"twice the markers cost {ratio:.1f} times as much")
    return Result.judge(
        f"{size // 1000} kB of markers cost {ratio:.1f} times half of them, longest probes {', '.join(figures)}",
        problems,
    )


async def _longest_stall(server: Server, task: asyncio.Task[Answer]) -> float:
    """How long the second slowest probe took until the task was done; a single one is the machine's."""
    found = [0.0, 0.0]
    while not task.done():
        found.append((await server.request("GET", LIVE)).seconds)
        await asyncio.sleep(0.02)
    return sorted(found)[-2]


def _content(answer: Answer, is_streamed: bool) -> str:
    try:
        if not is_streamed:
            return str(json.loads(answer.body)["choices"][0]["message"]["content"])
        frames = [json.loads(line[5:]) for line in answer.text.split("\n") if line.startswith("data: {")]
        deltas = [each["choices"][0]["delta"] for each in frames if each["choices"]]
    except (ValueError, LookupError):
        return ""
    return "".join(each.get("content") or "" for each in deltas)


def _text(answer: Answer) -> str:
    return str(json.loads(answer.body)["choices"][0]["text"])
