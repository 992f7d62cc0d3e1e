"""Jobs for engines, and readers that hold their streams to the contract while reading."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from portico.core.engine import (
    Engine,
    PromptPrefilled,
    SequenceFinished,
    TokenEvent,
    TokenJob,
    TokenLogprobs,
    TokensGenerated,
    TokenStream,
)
from portico.core.request import Sampling

_job_ids = itertools.count()


def sampling(temperature: float = 0.0, seed: int | None = None) -> Sampling:
    """Greedy by default; nothing but the temperature changes the distribution."""
    return Sampling(
        temperature=temperature,
        top_k=0,
        top_p=1.0,
        typical_p=1.0,
        min_p=0.0,
        repetition_penalty=1.0,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        frequency_penalty_is_relative=False,
        logit_bias=(),
        allowed_token_ids=None,
        banned_sequences=(),
        grammar=None,
        watermark=None,
        seed=seed,
    )


def token_job(prompt: Iterable[int], temperature: float = 0.0, seed: int | None = None, **changes: Any) -> TokenJob:
    """A job of eight tokens; `changes` are fields of `TokenJob`."""
    fields: dict[str, Any] = {
        "job_id": f"job-{next(_job_ids)}",
        "token_ids": tuple(prompt),
        "num_sequences": 1,
        "sampling": sampling(temperature, seed),
        "max_tokens": 8,
        "min_tokens": 0,
        "stop_token_ids": frozenset(),
        "logprobs": None,
        "prompt_logprobs": None,
        "processed_logprobs": False,
    }
    return TokenJob(**(fields | changes))


@dataclass
class Reading:
    """What a stream has given so far; `take` fails on an event that the contract forbids at its place."""

    job: TokenJob
    prefilled: PromptPrefilled | None = None
    token_ids: dict[int, list[int]] = field(default_factory=dict)
    logprobs: dict[int, list[TokenLogprobs]] = field(default_factory=dict)
    finished: dict[int, SequenceFinished] = field(default_factory=dict)

    def take(self, events: Sequence[TokenEvent]) -> None:
        assert events, "each step of a stream gives at least one event"
        for event in events:
            if isinstance(event, PromptPrefilled):
                assert self.prefilled is None, "the prompt is evaluated once"
                self.prefilled = event
                continue
            assert self.prefilled is not None, "the first event is PromptPrefilled"
            assert 0 <= event.index < self.job.num_sequences
            assert event.index not in self.finished, "nothing follows the end of a sequence"
            if isinstance(event, SequenceFinished):
                has_tokens = any(isinstance(each, TokensGenerated) and each.index == event.index for each in events)
                assert has_tokens or not self.job.max_tokens, "the end comes together with the last tokens"
                self.finished[event.index] = event
            else:
                self._take_tokens(event)

    def _take_tokens(self, event: TokensGenerated) -> None:
        assert event.token_ids
        assert len(event.logprobs) == (0 if self.job.logprobs is None else len(event.token_ids))
        self.token_ids.setdefault(event.index, []).extend(event.token_ids)
        self.logprobs.setdefault(event.index, []).extend(event.logprobs)


async def follow(stream: TokenStream, reading: Reading) -> None:
    """Reads a stream to its end, whichever it is."""
    async for events in stream:
        reading.take(events)


async def read(engine: Engine, job: TokenJob) -> Reading:
    """Runs a job to its end."""
    reading = Reading(job)
    await follow(engine.generate(job), reading)
    assert reading.finished.keys() == set(range(job.num_sequences)), "every sequence ends"
    return reading


async def read_tokens(engine: Engine, job: TokenJob) -> list[int]:
    """The output of a job's first sequence."""
    return (await read(engine, job)).token_ids[0]
