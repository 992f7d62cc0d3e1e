"""Requests of all dialects at random times, each with the text that it must get."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from reliability.client import Answer, exchange
from reliability.outcome import FORBIDDEN, Kind, Outcome, classify
from reliability.server import Server
from reliability.spoken import DIALECTS, Spoken, SpokenDialect

_SEED = 20261
_WORDS = ("the", "old", "porch", "before", "every", "door", "of", "a", "quiet", "house", "where", "seven", "clients")


def prompts(number: int) -> list[str]:
    """So many different prompts, the same ones every time."""
    generator = random.Random(_SEED)
    return [f"{index} " + " ".join(generator.choices(_WORDS, k=6)) for index in range(number)]


async def learn(
    server: Server,
    num_tokens: int,
    num_prompts: int = 4,
    dialects: Sequence[SpokenDialect] = DIALECTS,
    is_streamed: bool | None = None,
    concurrency: int = 4,
    headers: tuple[tuple[str, str], ...] = (),
) -> list[Spoken]:
    """Requests for each prompt in each dialect, streamed and whole, with their texts from a server that is hardly busy.

    The text is that of a whole answer; a stream must give the same. At most `concurrency` requests are asked at once.
    `is_streamed` keeps only one of the forms; `headers` are sent with each.

    Raises:
        ValueError: the server does not answer, or answers two prompts alike, so that a mix-up could not be seen.
    """
    gate = asyncio.Semaphore(concurrency)

    async def ask(dialect: SpokenDialect, prompt: str) -> Spoken:
        whole = Spoken(dialect, prompt, num_tokens, is_streamed=False, headers=headers)
        async with gate:
            answer = await exchange(server.address, whole.message)
        if answer.status != 200:
            raise ValueError(f"the idle server did not answer {whole.describe()}: {answer.status} {answer.text}")
        return whole.expecting(whole.read(answer.body))

    asked = [(dialect, prompt) for dialect in dialects for prompt in prompts(num_prompts)]
    learnt = await asyncio.gather(*(ask(*each) for each in asked))
    for dialect in dialects:
        if len({each.expected for each in learnt if each.dialect is dialect}) < num_prompts:
            raise ValueError(f"two prompts have the same text in {dialect.name}")
    forms = (False, True) if is_streamed is None else (is_streamed,)
    return [replace(each, is_streamed=form) for each in learnt for form in forms]


async def send(server: Server, spoken: Spoken, timeout: float = 60.0, leave_after: float | None = None) -> Outcome:
    """Sends one request and classifies what came of it."""
    return classify(spoken, await exchange(server.address, spoken.message, timeout, leave_after))


async def open_loop(
    server: Server,
    requests: Sequence[Spoken],
    rate: float,
    seconds: float,
    timeout: float = 60.0,
    seed: int = _SEED,
) -> list[Outcome]:
    """Sends requests at the times of a Poisson process, whether or not those before are answered.

    `rate` is of requests per second. They are drawn evenly, so the dialects and forms are mixed.
    """
    generator = random.Random(seed)
    outcomes: list[Outcome] = []
    start = time.perf_counter()

    async def one(spoken: Spoken) -> None:
        outcomes.append(await send(server, spoken, timeout))

    async with asyncio.TaskGroup() as sent:
        due = start
        while (due := due + generator.expovariate(rate)) < start + seconds:
            await asyncio.sleep(max(due - time.perf_counter(), 0.0))
            sent.create_task(one(generator.choice(requests)))
    return outcomes


async def closed_loop(
    server: Server, requests: Sequence[Spoken], concurrency: int, number: int, timeout: float = 60.0
) -> tuple[list[Outcome], float]:
    """Keeps so many requests going until `number` are done; also gives how many were answered per second."""
    waiting = iter(list(itertools.islice(itertools.cycle(requests), number)))
    outcomes: list[Outcome] = []

    async def work() -> None:
        for spoken in waiting:
            outcomes.append(await send(server, spoken, timeout))

    started_at = time.perf_counter()
    async with asyncio.TaskGroup() as workers:
        for _ in range(concurrency):
            workers.create_task(work())
    return outcomes, sum(each.kind is Kind.OK for each in outcomes) / (time.perf_counter() - started_at)


async def at_once(server: Server, requests: Iterable[Spoken], timeout: float = 60.0) -> list[Outcome]:
    """Sends all of them at the same time."""
    return list(await asyncio.gather(*(send(server, each, timeout) for each in requests)))


def forbidden(outcomes: Iterable[Outcome]) -> list[str]:
    """A sentence for every request that hung, was cut off, or got a wrong text."""
    return [
        f"{each.kind.value}: {each.spoken.describe()}: {each.remark}" for each in outcomes if each.kind in FORBIDDEN
    ]


def quantile(values: Iterable[float], share: float) -> float:
    """The value that so large a share is not above; not a number without values."""
    ordered = sorted(values)
    return ordered[min(max(math.ceil(share * len(ordered)), 1), len(ordered)) - 1] if ordered else math.nan


def median(values: Iterable[float]) -> float:
    """The middle value."""
    return quantile(values, 0.5)


def in_ms(seconds: float) -> str:
    """A time for the table."""
    return "none" if math.isnan(seconds) else f"{seconds * 1000:.0f} ms"


def first_token_seconds(outcomes: Iterable[Outcome]) -> list[float]:
    """Times to the first token of the streamed requests that were answered."""
    return [_first(each.answer) for each in outcomes if each.kind is Kind.OK and each.spoken.is_streamed]


def _first(answer: Answer) -> float:
    return answer.first_part_seconds
