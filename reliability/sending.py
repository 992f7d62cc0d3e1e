"""Sends attacks one after the other and judges what comes back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from reliability.check import Result, Settings
from reliability.client import Answer, Connection, encode_request
from reliability.oracle import Oracle, watch
from reliability.payloads.attack import Attack, Verdict
from reliability.server import Server
from reliability.spoken import ANTHROPIC, CHAT, MINDIE, TGI, TRITON, VLLM, SpokenDialect
from reliability.traffic import in_ms, quantile

_WIRES: dict[str, SpokenDialect] = {
    "openai": CHAT,
    "vllm": VLLM,
    "tgi": TGI,
    "triton": TRITON,
    "mindie": MINDIE,
    "anthropic": ANTHROPIC,
}
_TIMEOUT = 20.0
_WARM_UP = 40


@dataclass
class Sent:
    """What came of a number of attacks."""

    problems: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    num_refused: int = 0


async def attack_all(
    server: Server, attacks: Sequence[Attack], settings: Settings, max_growth: int = 16 << 20, within: float = 2.0
) -> Result:
    """Sends all of them with the oracle watching; the first ones once before, so that caches are full by then."""
    # Made beforehand: the probe of liveness shares this process with whatever would be made while it waits.
    attacks = [each if each.is_heavy else replace(each, make_body=partial(bytes, each.make_body())) for each in attacks]
    await send(server, attacks[:: max(len(attacks) // _WARM_UP, 1)], settings, None, within)
    async with watch(server, max_growth, slack=settings.slack) as oracle:
        sent = await send(server, attacks, settings, oracle, within)
    slowest = in_ms(quantile(sent.seconds, 0.99))
    figure = f"{len(attacks)} sent, {sent.num_refused} refused, p99 {slowest}; {oracle.summary()}"
    return Result.judge(figure, sent.problems + oracle.problems)


def choose(attacks: Iterable[Attack], rows: Sequence[str], settings: Settings, short: int) -> list[Attack]:
    """The attacks of these rows of the catalogue; in the short form so many of them, the same ones every time."""
    found = [each for each in attacks if each.row in rows]
    if not settings.is_short:
        return found
    light = [each for each in found if not each.is_heavy]
    return random.Random(1).sample(light, min(short, len(light)))


async def send(
    server: Server, attacks: Sequence[Attack], settings: Settings, oracle: Oracle | None, within: float
) -> Sent:
    """Sends them on one connection, or on the next where the server closes it; without an oracle nothing is judged."""
    sent = Sent()
    connection = await Connection.open(server.address)
    try:
        for each in attacks:
            message = encode_request(each.method, each.path, await asyncio.to_thread(each.make_body), each.headers)
            if connection.is_lost:
                connection = await Connection.open(server.address)
            answer = await connection.exchange(message, _TIMEOUT)
            if oracle is None:
                continue
            sent.seconds.append(answer.seconds)
            sent.num_refused += 400 <= answer.status < 500
            sent.problems += _judge(oracle, each, answer, within * settings.slack)
    finally:
        connection.close()
    return sent


def _judge(oracle: Oracle, attack: Attack, answer: Answer, within: float) -> list[str]:
    what = f"{attack.row} {attack.name}"
    if attack.streams_errors and answer.status == 200 and _is_error_event(answer.body):
        return oracle.judge(answer, what, statuses=range(200, 201), within=within)
    if attack.verdict is Verdict.SURVIVED:
        return oracle.judge(answer, what, statuses=range(200, 500), within=within)
    if attack.statuses and answer.status in attack.statuses:
        return oracle.judge(answer, what, statuses=range(answer.status, answer.status + 1), within=within)
    problems = oracle.judge(answer, what, within=within)
    if not problems and not _has_shape(answer, attack.wire):
        problems.append(f"{what}: not an error of {attack.wire or 'any wire'}: {answer.text[:120]}")
    return problems


def _is_error_event(body: bytes) -> bool:
    return body.startswith(b"data:") and TGI.is_error(body.removeprefix(b"data:").strip())


def _has_shape(answer: Answer, wire: str | None) -> bool:
    """Whether an answer is an error of its wire; TGI's first layer says in plain text what it cannot read."""
    is_plain = answer.headers.get("content-type", "").startswith("text/plain") and wire in (None, "tgi")
    wires = _WIRES.values() if wire is None else [_WIRES[wire]]
    return (is_plain and bool(answer.body)) or any(each.is_error(answer.body) for each in wires)
