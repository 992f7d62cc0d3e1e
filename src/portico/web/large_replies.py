"""Answers that take longer to write than other requests should wait: they are written in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from portico.core.events import Event, Prefilled
from portico.core.observer import RequestRecord
from portico.core.request import OutputOptions

T = TypeVar("T")

# Entries from which on an answer is written in a thread; one takes a few microseconds, a hand-over a hundred.
_MANY = 2048


async def write(make: Callable[[], T], num_entries: int) -> T:
    """What `make` gives: at once, or in a thread where it has so many tokens to write that others would wait for it.

    A thread is one of those in which long prompts are tokenised, so no more of them run at once.
    """
    if num_entries < _MANY:
        return make()
    return await asyncio.to_thread(make)


def is_large(batch: Sequence[Event]) -> bool:
    """Whether a batch of a stream describes so many tokens of prompts that it is to be encoded in a thread."""
    return _count_described(batch) >= _MANY


def count_entries(output: OutputOptions, record: RequestRecord) -> int:
    """How many tokens and alternatives to tokens a whole answer has to write at most."""
    num_entries = record.num_output_tokens
    if output.token_details:
        num_entries *= 1 + (output.logprobs or 0)
    if output.describes_prompts:
        # Every choice may repeat what is known of the prompt.
        num_entries += record.num_prompt_tokens * (1 + (output.prompt_logprobs or 0)) * output.num_choices
    return num_entries


def _count_described(batch: Sequence[Event]) -> int:
    """Tokens of prompts and alternatives to them."""
    prompts = [event.tokens for event in batch if isinstance(event, Prefilled) and event.tokens]
    # The first token of a prompt has no alternatives; the others have as many as were asked for.
    return sum(len(tokens) * (1 + len(tokens[-1].alternatives)) for tokens in prompts)
