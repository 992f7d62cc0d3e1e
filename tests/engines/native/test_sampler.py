"""The sampler against straightforward references, transformers' where it has them."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from portico.core.request import Sampling, Watermark
from portico.engines.native import warpers
from portico.engines.native.drawing import TorchDrawing
from portico.engines.native.sampler import Sampler, takes_best
from portico.engines.native.sequence import Job, Sequence
from portico.engines.native.watermark import green_ids
from tests.engines.native.jobs import job, sampling

VOCAB_SIZE = 3000
CPU = torch.device("cpu")


def random_scores(num_rows: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return torch.randn(num_rows, VOCAB_SIZE, generator=torch.Generator().manual_seed(seed)) * scale


def sequence(prompt: tuple[int, ...] = (1, 2, 3), output: tuple[int, ...] = (), **changes: Any) -> Sequence:
    request = job(prompt, **changes)
    seed = request.sampling.seed or 0
    return Sequence(Job(0, request, seed, 0.0), 0, [], [*prompt, *output])


@pytest.mark.parametrize(
    ("ours", "theirs", "value"),
    [
        (warpers.keep_top_k, TopKLogitsWarper, 1),
        (warpers.keep_top_k, TopKLogitsWarper, 40),
        (warpers.keep_top_k, TopKLogitsWarper, 5000),
        (warpers.keep_top_p, TopPLogitsWarper, 0.001),
        (warpers.keep_top_p, TopPLogitsWarper, 0.9),
        (warpers.keep_typical, TypicalLogitsWarper, 0.01),
        (warpers.keep_typical, TypicalLogitsWarper, 0.8),
        (warpers.keep_min_p, MinPLogitsWarper, 0.05),
        (warpers.keep_min_p, MinPLogitsWarper, 0.99),
    ],
)
@pytest.mark.parametrize("scale", [0.01, 3.0])
def test_warpers_equal_transformers(ours: Any, theirs: Any, value: float, scale: float) -> None:
    scores = random_scores(4, scale=scale)
    found = ours(scores, torch.tensor([value] * 4))
    expected = theirs(value)(None, scores.clone())
    # At the very edge of the mass another order of summation may keep one token more or less.
    assert int((found.isinf() != expected.isinf()).sum()) <= 4
    kept = ~found.isinf()
    assert bool(kept.any(1).all())
    torch.testing.assert_close(found[kept], scores[kept])


def test_rows_have_their_own_values() -> None:
    scores = random_scores(3)
    together = warpers.keep_top_p(scores, torch.tensor([0.1, 0.9, 0.9999]))
    for row, value in enumerate((0.1, 0.9, 0.9999)):
        alone = warpers.keep_top_p(scores[row : row + 1], torch.tensor([value]))
        assert torch.equal(together[row], alone[0])


def penalised(scores: Tensor, each: Sequence) -> Tensor:
    """[vocab] the scores that a greedy sequence is drawn from, by its processed log-probabilities."""
    sampler = Sampler(VOCAB_SIZE, CPU, TorchDrawing())
    [draw] = sampler.sample(scores, [each])
    assert draw.logprobs is not None
    row = torch.full((VOCAB_SIZE,), -torch.inf)
    for token_id, logprob in draw.logprobs.best:
        row[token_id] = logprob
    return row


PROCESSED: dict[str, Any] = {"logprobs": VOCAB_SIZE, "processed_logprobs": True}


def test_repetition_penalty_covers_the_prompt() -> None:
    scores = random_scores(1)
    prompt = (5, 6, 5, 7)
    expected = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([prompt]), scores.clone()).log_softmax(1)[0]
    found = penalised(scores, sequence(prompt, sampling=sampling(repetition_penalty=1.7), **PROCESSED))
    torch.testing.assert_close(found, expected)


def test_presence_and_frequency_penalties_cover_the_output() -> None:
    sampler = Sampler(VOCAB_SIZE, CPU, TorchDrawing())
    asked = sampling(presence_penalty=0.5, frequency_penalty=0.25, logit_bias=((9, 100.0),))
    each = sequence((9, 9, 8), sampling=asked, max_tokens=9, **PROCESSED)
    for _ in range(2):
        [draw] = sampler.sample(random_scores(1), [each])
        assert draw.token_id == 9
        each.token_ids.append(9)
    scores = random_scores(1, seed=1)
    [draw] = sampler.sample(scores, [each])
    expected = scores.clone()
    expected[0, 9] += 100 - 0.5 - 2 * 0.25
    assert draw.logprobs is not None
    found = dict(draw.logprobs.best)
    for token_id in (8, 9, 10):
        assert found[token_id] == pytest.approx(float(expected.log_softmax(1)[0, token_id]), abs=1e-4)


def test_relative_frequency_penalty_is_tgis() -> None:
    scores = random_scores(1)
    prompt = (5, 6, 5, 7)
    expected = scores.clone()
    for token_id, count in Counter(prompt).items():
        expected[0, token_id] -= 1.5 * count / len(prompt)
    asked = sampling(frequency_penalty=1.5, frequency_penalty_is_relative=True)
    found = penalised(scores, sequence(prompt, sampling=asked, **PROCESSED))
    torch.testing.assert_close(found, expected.log_softmax(1)[0])


def test_steps_run_in_order() -> None:
    """Bias before repetition penalty, penalty before temperature, temperature before top_k."""
    scores = torch.zeros(1, VOCAB_SIZE)
    scores[0, :4] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    asked = sampling(temperature=2.0, top_k=2, repetition_penalty=2.0, logit_bias=((0, 8.0),), seed=1)
    found = penalised(scores, sequence((0,), sampling=asked, **PROCESSED))
    expected = torch.full((VOCAB_SIZE,), -torch.inf)
    expected[:2] = torch.tensor([(4.0 + 8.0) / 2 / 2, 3.0 / 2]).log_softmax(0)
    torch.testing.assert_close(found, expected)


def test_min_tokens_forbids_stop_tokens_even_with_a_bias() -> None:
    sampler = Sampler(VOCAB_SIZE, CPU, TorchDrawing())
    asked = sampling(logit_bias=((42, 1000.0),))
    each = sequence(sampling=asked, min_tokens=1, stop_token_ids=frozenset({42}))
    [first] = sampler.sample(random_scores(1), [each])
    assert first.token_id != 42
    each.token_ids.append(first.token_id)
    [second] = sampler.sample(random_scores(1), [each])
    assert second.token_id == 42


def test_raw_logprobs_are_the_models_own() -> None:
    scores = random_scores(1)
    asked = sampling(temperature=0.5, top_k=3, logit_bias=((0, 50.0),), seed=3)
    [draw] = Sampler(VOCAB_SIZE, CPU, TorchDrawing()).sample(scores, [sequence(sampling=asked, logprobs=2)])
    assert draw.token_id == 0
    expected = scores.log_softmax(1)[0]
    assert draw.logprobs is not None
    assert draw.logprobs.logprob == pytest.approx(float(expected[0]))
    values, ids = expected.topk(2)
    assert draw.logprobs.best == tuple(zip(ids.tolist(), values.tolist(), strict=True))


def test_draws_follow_the_distribution() -> None:
    scores = torch.tensor([[0.1, 0.2, 0.7, 0.0]]).log().expand(20000, 4)
    uniforms = torch.rand(20000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    counts = torch.bincount(warpers.draw(scores, uniforms), minlength=4) / 20000
    torch.testing.assert_close(counts, torch.tensor([0.1, 0.2, 0.7, 0.0]), atol=0.015, rtol=0)
    edge = torch.tensor([1 - 2**-53, 0.0], dtype=torch.float64)
    assert warpers.draw(scores[:2], edge).tolist() == [2, 0]


MIXED = (
    sampling(),
    sampling(temperature=1.0, seed=1),
    sampling(temperature=0.7, top_p=0.9, seed=2),
    sampling(temperature=1.3, top_k=50, min_p=0.05, seed=3),
    sampling(temperature=1.0, typical_p=0.5, seed=4),
    sampling(temperature=1.0, repetition_penalty=1.3, presence_penalty=0.3, frequency_penalty=0.4, seed=5),
    sampling(frequency_penalty=0.4, frequency_penalty_is_relative=True),
    sampling(temperature=1.0, watermark=Watermark(0.25, 2.0, 15485863), seed=6),
    sampling(logit_bias=((7, 100.0),)),
)


def drawn(groups: list[list[int]]) -> dict[int, list[int]]:
    """Ten tokens of each setting of MIXED, the settings of a group in one batch."""
    found: dict[int, list[int]] = {}
    for group in groups:
        sampler = Sampler(VOCAB_SIZE, CPU, TorchDrawing())
        sequences = [sequence(sampling=MIXED[number], max_tokens=20) for number in group]
        for step in range(10):
            scores = torch.stack([random_scores(1, seed=100 * number + step)[0] for number in group])
            for each, draw in zip(sequences, sampler.sample(scores, sequences), strict=True):
                each.token_ids.append(draw.token_id)
        found |= {number: each.token_ids[3:] for number, each in zip(group, sequences, strict=True)}
    return found


def test_a_sequence_draws_the_same_alone_and_among_others() -> None:
    numbers = list(range(len(MIXED)))
    assert drawn([numbers]) == drawn([[number] for number in numbers])


def test_seeds_differ() -> None:
    scores = random_scores(1)
    sequences = [sequence(sampling=sampling(temperature=2.0, seed=seed)) for seed in range(20)]
    draws = Sampler(VOCAB_SIZE, CPU, TorchDrawing()).sample(scores.expand(20, -1), sequences)
    assert len({draw.token_id for draw in draws}) > 10


def test_watermark_can_be_detected() -> None:
    """The z-test of the paper: with the mark far above 4, without it near 0."""

    def z_score(watermark: Watermark | None) -> float:
        mark = Watermark(0.5, 2.0, 15485863)
        sampler = Sampler(VOCAB_SIZE, CPU, TorchDrawing())
        each = sequence(sampling=sampling(temperature=1.0, watermark=watermark, seed=11), max_tokens=300)
        num_green = 0
        for step in range(200):
            green = set(green_ids(mark, each.token_ids[-1], VOCAB_SIZE).tolist())
            [draw] = sampler.sample(random_scores(1, seed=step, scale=1.0), [each])
            num_green += draw.token_id in green
            each.token_ids.append(draw.token_id)
        return (num_green - 0.5 * 200) / math.sqrt(200 * 0.25)

    assert z_score(Watermark(0.5, 2.0, 15485863)) > 6
    assert abs(z_score(None)) < 4


def test_green_ids_are_tgis() -> None:
    generator = torch.Generator().manual_seed(15485863 * 17)
    expected = torch.randperm(VOCAB_SIZE, generator=generator)[: int(VOCAB_SIZE * 0.25)]
    assert torch.equal(green_ids(Watermark(0.25, 2.0, 15485863), 17, VOCAB_SIZE), expected)


def test_only_allowed_tokens_are_drawn() -> None:
    asked = sampling(temperature=5.0, allowed_token_ids=(4, 8, 15), logit_bias=((16, 100.0),), seed=1)
    each = sequence(sampling=asked, max_tokens=99)
    sampler = Sampler(VOCAB_SIZE, CPU, TorchDrawing())
    drawn_ids = {sampler.sample(random_scores(1, seed=step), [each])[0].token_id for step in range(40)}
    assert drawn_ids == {4, 8, 15}


def test_banned_sequences_are_not_completed() -> None:
    scores = torch.zeros(1, VOCAB_SIZE)
    scores[0, 5], scores[0, 6], scores[0, 7] = 3.0, 2.0, 1.0
    asked = sampling(banned_sequences=((5,), (9, 6), (6, 6, 7)))
    sampler = Sampler(VOCAB_SIZE, CPU, TorchDrawing())
    for output, expected in [((), 6), ((9,), 7), ((6,), 6), ((3, 9), 7), ((6, 6), 6), ((9, 9), 7)]:
        [draw] = sampler.sample(scores, [sequence((9,), output, sampling=asked)])
        assert draw.token_id == expected
    # What the prompt ends with does not count.
    [draw] = sampler.sample(scores, [sequence((9,), (), sampling=asked)])
    assert draw.token_id == 6


def test_a_ban_gives_way_where_nothing_else_is_left() -> None:
    scores = torch.zeros(1, VOCAB_SIZE)
    scores[0, 5], scores[0, 6], scores[0, 7] = 3.0, 2.0, 1.0
    sampler = Sampler(VOCAB_SIZE, CPU, TorchDrawing())
    only: dict[str, Any] = {"allowed_token_ids": (6, 7), "banned_sequences": ((6, 6), (6, 7))}
    ended: dict[str, Any] = {"stop_token_ids": frozenset((7,)), "min_tokens": 3}
    for banned, output, changes, expected in [
        (only, (), {}, 6),
        (only, (6,), {}, 6),
        (only, (6, 7), {}, 6),
        ({**only, "banned_sequences": ((6, 6),)}, (6,), {}, 7),
        ({**only, "banned_sequences": ((6, 6),)}, (6,), ended, 6),
    ]:
        for temperature in (0.0, 1e-3):
            asked = sampling(**banned, temperature=temperature, seed=1)
            [draw] = sampler.sample(scores, [sequence((9,), output, sampling=asked, **changes)])
            assert draw.token_id == expected


# What a greedy sequence may ask for besides: values that change what its next token is, and fields that change nothing.
ASKED = {
    "temperature": 0.5,
    "repetition_penalty": 1.1,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.1,
    "logit_bias": ((1, 2.0),),
    "allowed_token_ids": (1, 2),
    "banned_sequences": ((1, 2),),
    "watermark": Watermark(0.5, 2.0, 1),
}
UNASKED = {"top_k", "top_p", "typical_p", "min_p", "seed", "frequency_penalty_is_relative", "grammar"}


def test_only_sequences_that_ask_for_nothing_else_take_the_best_token() -> None:
    assert {field.name for field in dataclasses.fields(Sampling)} == ASKED.keys() | UNASKED
    assert takes_best(sequence())
    assert takes_best(sequence(sampling=sampling(top_k=3, top_p=0.5, min_p=0.1, typical_p=0.5, seed=1)))
    assert takes_best(sequence(min_tokens=3))
    assert takes_best(sequence(stop_token_ids=frozenset({1})))
    for name, value in ASKED.items():
        assert not takes_best(sequence(sampling=sampling(**{name: value}))), name
    assert not takes_best(sequence(logprobs=0))
    assert not takes_best(sequence(min_tokens=3, stop_token_ids=frozenset({1})))
    constrained = sequence()
    constrained.job.constraint = object()  # type: ignore[assignment]
    assert not takes_best(constrained)
