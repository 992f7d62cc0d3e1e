"""What tenants can do to each other: use up the other's share, see what it asked for, make it wait."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reliability.access import ALICE, BOB, OPERATOR, bearer, welch, write_keys
from reliability.check import Check, Result, Settings
from reliability.client import Answer
from reliability.outcome import Kind, unexpected
from reliability.server import Server, run_server
from reliability.spoken import COMPLETION, DIALECTS, MODEL, Spoken
from reliability.traffic import at_once, closed_loop, first_token_seconds, in_ms, learn, quantile

_CANARY = "Canary7f3a"
_PROMPT_LEN = 700
_VOCAB = 4000


def _as(key: str, requests: Iterable[Spoken]) -> list[Spoken]:
    return [replace(each, headers=(*each.headers, *bearer(key).items())) for each in requests]


async def _complete(server: Server, key: str, **fields: Any) -> Answer:
    body = {"model": MODEL, "prompt": "hi", "max_tokens": 1, **fields}
    return await server.request("POST", "/v1/completions", body, bearer(key), timeout=60)


async def _count(server: Server, number: int, **fields: Any) -> tuple[list[Answer], list[Answer]]:
    """Requests of alice at the same time: those that are answered, and those that are over the share."""
    answers = await asyncio.gather(*(_complete(server, ALICE, **fields) for _ in range(number)))
    return [each for each in answers if each.status == 200], [each for each in answers if each.status == 429]


def _judge_share(name: str, limit: int, answered: list[Answer], refused: list[Answer], number: int) -> list[str]:
    problems = []
    if len(answered) != limit or len(answered) + len(refused) != number:
        problems.append(f"{name}: {len(answered)} of {number} answered and {len(refused)} refused, not {limit}")
    for each in refused:
        seconds = each.headers.get("retry-after", "")
        if not seconds.isdecimal() or not 1 <= int(seconds) <= 60:
            problems.append(f"{name}: Retry-After is {seconds!r}")
    return problems


async def _check_shares(settings: Settings) -> Result:
    problems: list[str] = []
    cases: tuple[tuple[str, int, int, Mapping[str, Any]], ...] = (
        ("requests_per_minute", 10, 10, {}),
        ("tokens_per_minute", 100, 5, {"prompt": [7] * 20, "max_tokens": 40, "ignore_eos": True}),
        ("max_parallel_requests", 3, 3, {"max_tokens": 40, "ignore_eos": True}),
    )
    for limit, value, expected, fields in cases:
        keys = write_keys(settings, limit, f"{limit} = {value}")
        async with run_server(settings, "--api-key-file", str(keys), "--token-delay", "0.02") as server:
            others = asyncio.gather(*(_complete(server, BOB, **fields) for _ in range(12)))
            answered, refused = await _count(server, 30, **fields)
            problems += _judge_share(limit, expected, answered, refused, 30)
            problems += [f"{limit}: another key got {each.status}" for each in await others if each.status != 200]
    return Result.judge("of 30 at once exactly 10, 5 and 3 by limit; 12 of another key all answered", problems)


def _num_cached(answer: Answer) -> int:
    return int(json.loads(answer.body)["usage"]["prompt_tokens_details"]["cached_tokens"] or 0)


async def _check_cache(settings: Settings) -> Result:
    """Pairs: who evaluated a prompt finds it again, and another key is as slow as with a prompt that nobody asked."""
    generator = random.Random(1)
    own, others, fresh = [], [], []
    problems: list[str] = []
    keys = write_keys(settings, "cache")
    async with run_server(settings, "--api-key-file", str(keys), engine="native") as server:

        async def ask(key: str, prompt: list[int], salt: str | None = None) -> Answer:
            return await _complete(server, key, prompt=prompt, **({} if salt is None else {"cache_salt": salt}))

        for _ in range(settings.pick(200, 15)):
            prompt, unknown = ([generator.randrange(5, _VOCAB) for _ in range(_PROMPT_LEN)] for _ in range(2))
            await ask(ALICE, prompt)
            again = await ask(ALICE, prompt)
            pair = {key: await ask(BOB, (prompt, unknown)[key]) for key in generator.sample((0, 1), 2)}
            other, control = pair[0], pair[1]
            if _num_cached(again) < _PROMPT_LEN // 2:
                problems.append(f"the same key found {_num_cached(again)} cached tokens of {_PROMPT_LEN}")
            if _num_cached(other):
                problems.append(f"another key found {_num_cached(other)} cached tokens")
            own.append(again.seconds)
            others.append(other.seconds)
            fresh.append(control.seconds)
        salted = [generator.randrange(5, _VOCAB) for _ in range(_PROMPT_LEN)]
        await ask(ALICE, salted, "mine")
        for salt in ("mine", "alice", "/mine", ""):
            answer = await ask(BOB, salted, salt or None)
            if _num_cached(answer):
                problems.append(f"another key found cached tokens with the salt {salt!r}")
    t, control_t = abs(welch(others, fresh)), abs(welch(own, fresh))
    if t >= 3:
        problems.append(f"times tell what another key has asked: |t| = {t:.1f}")
    if control_t < 3:
        problems.append(f"nothing is proven: times do not tell what the same key has asked (|t| = {control_t:.1f})")
    figure = f"{len(own)} trials: same key hit, other key 0 tokens; |t| {t:.1f} (same key {control_t:.0f})"
    return Result.judge(figure, problems)


async def _spread_canaries(server: Server) -> str:
    """Prompts and keys with a word in all dialects, answered and refused; gives what clients saw of errors."""
    prompt = f"{_CANARY} tells a secret"
    seen = []
    for dialect in DIALECTS:
        path = dialect.path[False]
        for is_streamed in (False, True):
            await server.request("POST", path, dialect.body(prompt, 3, is_streamed), bearer(ALICE))
        bad: list[bytes | dict[str, Any]] = [
            {**dialect.body(prompt, 3, False), "nonsense": 1},
            dialect.body(prompt, -5, False),
            json.dumps(dialect.body(prompt, 3, False)).encode()[:-1],
        ]
        for body in bad:
            for key in (ALICE, f"{_CANARY}-key"):
                answer = await server.request("POST", path, body, bearer(key))
                # Where the text is a part of the answer by design the status is 200.
                seen.append(answer.text if answer.status != 200 else "")
    return "\n".join(seen)


async def _find_canaries(settings: Settings, *module: str) -> tuple[dict[str, int], int]:
    """How often a key or the word of prompts is found in each place, and how large the log is."""
    keys = write_keys(settings, "canaries")
    flags = ("--api-key-file", str(keys), "--log-level", "debug")
    canary_key = f"{_CANARY}-environment"
    arguments = module or ("portico",)
    async with run_server(
        settings, *flags, module=arguments, engine="native", environment={"PORTICO_API_KEY": canary_key}
    ) as server:
        errors = await _spread_canaries(server)
        metrics = (await server.request("GET", "/metrics", headers=bearer(OPERATOR))).text
        pages = [(await server.request("GET", path, headers=bearer(ALICE))).text for path in ("/info", "/v2", "/load")]
        children = [pid for pid in (server.engine_pid,) if pid is not None]
        processes = "".join(_process(pid, "cmdline") for pid in (server.pid, *children))
        processes += "".join(_process(pid, "environ") for pid in children)
        log = server.log
    places = {"log": log, "metrics": metrics, "errors": errors, "pages": "".join(pages), "processes": processes}
    secrets = (_CANARY, ALICE, BOB, OPERATOR)
    return {name: sum(text.count(each) for each in secrets) for name, text in places.items()}, len(log)


def _process(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")


async def _check_canaries(settings: Settings) -> Result:
    found, size = await _find_canaries(settings)
    problems = [f"{number} secrets in the {place}" for place, number in found.items() if number]
    if size < 1000:
        problems.append("there is hardly a log, so nothing is proven")
    control, _ = await _find_canaries(settings, "reliability.faulty_server", "--fault", "log-prompts")
    if not control["log"]:
        problems.append("a server that logs prompts is not found out")
    return Result.judge(f"0 in {', '.join(found)}; control finds {control['log']}" if not problems else "", problems)


async def _check_turns(settings: Settings) -> Result:
    """Twenty streams of one key beside one of another."""
    keys = write_keys(settings, "turns")
    flags = ("--max-num-seqs", "8", "--max-waiting", "64", "--prefill-delay", "0.1", "--token-delay", "0.01")
    async with run_server(settings, *flags) as server:
        learnt = await learn(server, 24, 2, (COMPLETION,), is_streamed=True)
        # Of several lengths, so that places become free one by one.
        several = [each for number in (12, 18, 24, 30) for each in await learn(server, number, 1, (COMPLETION,), True)]
    async with run_server(settings, *flags, "--api-key-file", str(keys)) as server:
        alone, _ = await closed_loop(server, _as(BOB, learnt), 1, settings.pick(100, 10))
        stop = asyncio.Event()
        outcomes = []

        async def flood(first: int) -> None:
            for spoken in itertools.islice(itertools.cycle(_as(ALICE, several)), first, None):
                if stop.is_set():
                    return
                outcomes.extend(await at_once(server, [spoken]))

        floods = [asyncio.create_task(flood(index)) for index in range(20)]
        await asyncio.sleep(1)
        beside, queued = [
            (await closed_loop(server, _as(key, learnt), 1, settings.pick(100, 10)))[0] for key in (BOB, ALICE)
        ]
        stop.set()
        await asyncio.gather(*floods)
    base, slowest, other = (quantile(first_token_seconds(each), 0.99) for each in (alone, beside, queued))
    problems = unexpected([*alone, *beside, *queued, *outcomes], Kind.OK)
    if slowest > 2 * base * settings.slack:
        problems.append(f"p99 TTFT {in_ms(slowest)} is more than twice that of the key alone, {in_ms(base)}")
    if len(outcomes) < 2 * len(beside):
        problems.append(f"only {len(outcomes)} of the busy key were answered beside {len(beside)} of the other")
    figure = f"p99 TTFT {in_ms(slowest)} beside 20 streams, {in_ms(base)} alone; {in_ms(other)} with the same key"
    return Result.judge(figure, problems)


CHECKS = (
    Check(
        "L5", "Load", "one key's 20 streams beside one stream of another",
        "p99 TTFT of the other at most 2 times that alone; the first is not starved", _check_turns,
    ),
    Check(
        "T3", "Tenant", "shares of requests, tokens and places",
        "exact at the limit; 429 with Retry-After; other keys are not affected", _check_shares,
    ),
    Check(
        "T4", "Tenant", "cached prompts of another key",
        "the same key hits; another has 0 cached tokens whatever its salt, and |t| < 3 between times",
        _check_cache, uses_model=True,
    ),
    Check(
        "T6", "Tenant", "keys and prompts in logs, metrics, errors and processes",
        "none; a server that logs prompts is found out", _check_canaries, is_quick=True, uses_model=True,
    ),
)  # fmt: skip
