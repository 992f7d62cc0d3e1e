"""Jobs for tests: greedy unless something else is said."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from portico.core.engine import (
    PromptPrefilled,
    SequenceFinished,
    TokenEvent,
    TokenJob,
    TokenLogprobs,
    TokensGenerated,
)
from portico.core.request import Sampling


def sampling(**changes: Any) -> Sampling:
    """Greedy sampling with some changes."""
    values: dict[str, Any] = {
        "temperature": 0.0,
        "top_k": 0,
        "top_p": 1.0,
        "typical_p": 1.0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "frequency_penalty_is_relative": False,
        "logit_bias": (),
        "allowed_token_ids": None,
        "banned_sequences": (),
        "grammar": None,
        "watermark": None,
        "seed": None,
    }
    return Sampling(**(values | changes))


def job(token_ids: Iterable[int], **changes: Any) -> TokenJob:
    """Eight greedy tokens, with some changes."""
    values: dict[str, Any] = {
        "job_id": "job",
        "token_ids": tuple(token_ids),
        "num_sequences": 1,
        "sampling": sampling(),
        "max_tokens": 8,
        "min_tokens": 0,
        "stop_token_ids": frozenset(),
        "logprobs": None,
        "prompt_logprobs": None,
        "processed_logprobs": False,
    }
    return TokenJob(**(values | changes))


@dataclass
class Outcome:
    """All events of one job."""

    prefilled: list[PromptPrefilled] = field(default_factory=list)
    token_ids: dict[int, list[int]] = field(default_factory=dict)
    logprobs: dict[int, list[TokenLogprobs]] = field(default_factory=dict)
    finished: dict[int, SequenceFinished] = field(default_factory=dict)
    failure: str | None = None

    def feed(self, event: TokenEvent) -> None:
        """Takes one event."""
        match event:
            case PromptPrefilled():
                assert not self.token_ids, "the prompt comes before its continuations"
                self.prefilled.append(event)
            case TokensGenerated():
                assert event.index not in self.finished
                self.token_ids.setdefault(event.index, []).extend(event.token_ids)
                self.logprobs.setdefault(event.index, []).extend(event.logprobs)
            case SequenceFinished():
                assert event.index not in self.finished
                self.finished[event.index] = event


async def collect(stream: AsyncIterator[Sequence[TokenEvent]]) -> Outcome:
    """Reads a stream to its end."""
    outcome = Outcome()
    async for events in stream:
        assert events
        for event in events:
            outcome.feed(event)
    return outcome
