"""Jobs that draw nothing, and tokens that must not be drawn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portico.core.engine import Engine
from portico.core.events import FinishReason
from tests.engines.conformance.jobs import read, read_tokens, sampling, token_job

pytestmark = pytest.mark.asyncio(loop_scope="session")
PROMPT = (5, 6, 7)


async def test_without_output_tokens_the_prompt_is_evaluated(engine: Engine) -> None:
    job = token_job(PROMPT, max_tokens=0, num_sequences=2, prompt_logprobs=1, stop_token_ids=frozenset((1,)))
    reading = await read(engine, job)
    assert reading.token_ids == {}
    assert [each.reason for each in reading.finished.values()] == [FinishReason.LENGTH] * 2
    assert reading.prefilled is not None
    assert len(reading.prefilled.logprobs) == len(PROMPT)
    assert len(await read_tokens(engine, token_job(PROMPT))) == 8


async def test_only_allowed_tokens_are_drawn(engine: Engine) -> None:
    for temperature in (0.0, 1.0):
        restricted = replace(sampling(temperature, seed=1), allowed_token_ids=(3, 11))
        assert set(await read_tokens(engine, token_job(PROMPT, sampling=restricted))) <= {3, 11}


async def test_banned_sequences_are_not_completed(engine: Engine) -> None:
    free = await read_tokens(engine, token_job(PROMPT))
    for banned in ((free[0],), (free[0], free[1]), tuple(free[:3])):
        restricted = replace(sampling(), banned_sequences=(banned,))
        output = await read_tokens(engine, token_job(PROMPT, sampling=restricted))
        assert output[: len(banned) - 1] == free[: len(banned) - 1]
        assert output[len(banned) - 1] != banned[-1]
