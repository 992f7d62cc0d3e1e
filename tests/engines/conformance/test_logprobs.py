"""Log-probabilities of every engine: their shape, their order, and that they are probabilities."""

from __future__ import annotations

import math

import pytest

from portico.core.engine import Engine, TokenLogprobs
from tests.engines.conformance.jobs import read, token_job

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROMPT = (5, 17, 23, 42, 99)


def check_place(token_id: int, place: TokenLogprobs, num_best: int) -> None:
    logprobs = [logprob for _, logprob in place.best]
    assert len(place.best) == num_best
    assert len({each for each, _ in place.best}) == num_best
    assert logprobs == sorted(logprobs, reverse=True)
    assert sum(map(math.exp, logprobs)) <= 1 + 1e-4
    assert place.logprob <= 1e-6
    if token_id in dict(place.best):
        assert dict(place.best)[token_id] == pytest.approx(place.logprob, abs=1e-5)
    elif logprobs:
        assert place.logprob <= logprobs[-1] + 1e-5
        assert place.rank > num_best


@pytest.mark.parametrize("num_best", [0, 1, 5])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_places_are_consistent(engine: Engine, num_best: int, temperature: float) -> None:
    reading = await read(engine, token_job(PROMPT, temperature=temperature, seed=4, logprobs=num_best, num_sequences=2))
    for index in range(2):
        assert len(reading.logprobs[index]) == 8
        for token_id, place in zip(reading.token_ids[index], reading.logprobs[index], strict=True):
            check_place(token_id, place, num_best)


async def test_a_greedy_token_is_the_best(engine: Engine) -> None:
    reading = await read(engine, token_job(PROMPT, logprobs=3, max_tokens=16))
    assert reading.token_ids[0] == [place.best[0][0] for place in reading.logprobs[0]]


async def test_log_probabilities_do_not_change_the_output(engine: Engine) -> None:
    plain = await read(engine, token_job(PROMPT, temperature=1.0, seed=5))
    detailed = await read(engine, token_job(PROMPT, temperature=1.0, seed=5, logprobs=4, prompt_logprobs=2))
    assert detailed.token_ids == plain.token_ids


async def test_the_whole_vocabulary_adds_up_to_one(engine: Engine) -> None:
    vocab_size = engine.info.vocab_size
    reading = await read(engine, token_job(PROMPT, logprobs=vocab_size, max_tokens=2))
    for place in reading.logprobs[0]:
        assert len(place.best) == vocab_size
        assert place.rank == sum(logprob >= place.logprob for _, logprob in place.best)
        assert math.fsum(math.exp(logprob) for _, logprob in place.best) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("num_best", [0, 3])
async def test_prompt_places(engine: Engine, num_best: int) -> None:
    reading = await read(engine, token_job(PROMPT, prompt_logprobs=num_best))
    assert reading.prefilled is not None
    first, *rest = reading.prefilled.logprobs
    assert first is None
    assert len(rest) == len(PROMPT) - 1
    for token_id, place in zip(PROMPT[1:], rest, strict=True):
        assert place is not None
        check_place(token_id, place, num_best)


async def test_prompt_places_of_one_token(engine: Engine) -> None:
    reading = await read(engine, token_job(PROMPT[:1], prompt_logprobs=2))
    assert reading.prefilled is not None
    assert reading.prefilled.logprobs == (None,)


async def test_no_prompt_places_unless_asked_for(engine: Engine) -> None:
    reading = await read(engine, token_job(PROMPT, logprobs=2))
    assert reading.prefilled is not None
    assert reading.prefilled.logprobs == ()


async def test_output_read_again_as_a_prompt_has_the_same_log_probabilities(engine: Engine) -> None:
    written = await read(engine, token_job(PROMPT, logprobs=2))
    read_again = await read(engine, token_job((*PROMPT, *written.token_ids[0]), prompt_logprobs=2))
    assert read_again.prefilled is not None
    for place, again in zip(written.logprobs[0], read_again.prefilled.logprobs[len(PROMPT) :], strict=True):
        assert again is not None
        assert again.logprob == pytest.approx(place.logprob, abs=1e-3)
