"""How many tokens fit into the time that others may be kept waiting."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from portico.engines.native.pace import PrefillPace


def settled(pace: PrefillPace, seconds_of: Callable[[int], float], num_steps: int = 12) -> int:
    for _ in range(num_steps):
        pace.note(pace.budget(), 0, seconds_of(pace.budget()))
    return pace.budget()


def test_before_anything_is_known_pieces_are_small() -> None:
    assert PrefillPace().budget() == 64


@pytest.mark.parametrize("fixed", [0.0, 0.02, 0.06])
def test_pieces_come_to_take_the_time_that_they_may(fixed: float) -> None:
    """Also where most of the time of a small one is that of reading the weights."""
    budget = settled(PrefillPace(), lambda num_tokens: fixed + num_tokens / 4000)
    assert 0.085 < fixed + budget / 4000 <= 0.1


def test_those_who_are_used_to_short_steps_wait_less() -> None:
    def seconds(num_tokens: int) -> float:
        return 0.01 + num_tokens / 10_000

    pace = PrefillPace()
    assert settled(pace, seconds) == pytest.approx(900, abs=20)
    for _ in range(20):
        pace.note(0, 1, seconds(1))
    assert settled(pace, seconds) == 96


def test_pieces_shrink_as_the_context_grows() -> None:
    pace, depth, worst = PrefillPace(), 0, 0.0
    pace.note(0, 1, 0.02)
    for _ in range(60):
        seconds = 0.004 + pace.budget() * (1 + depth / 1000) / 10_000
        worst = max(worst, seconds)
        depth += pace.budget()
        pace.note(pace.budget(), 7, 0.02 + seconds)
    assert worst < 0.06


def test_sequences_beside_a_piece_are_not_counted_against_it() -> None:
    pace = PrefillPace()
    settled(pace, lambda num_tokens: num_tokens / 2000)
    pace.note(0, 2, 0.02)
    for _ in range(12):
        # Thirty more than when steps were timed last, which take as long as tokens of prompts do.
        pace.note(pace.budget(), 32, 0.02 + (30 + pace.budget()) / 2000)
    assert pace.budget() / 2000 == pytest.approx(0.04, abs=0.009)


def test_more_may_be_evaluated_as_more_wait_to_begin_than_run() -> None:
    pace = PrefillPace()
    for _ in range(12):
        pace.note(0, 1, 0.01)
        pace.note(pace.budget(), 1, 0.01 + pace.budget() / 8000)
    before = pace.budget()
    assert before == 160
    assert pace.budget(4, 8) == pace.budget(8, 8) == before
    assert pace.budget(16, 8) == 2 * before
    # Yet nobody waits longer than anybody may.
    assert pace.budget(100, 1) == 800


def test_noise_of_many_sequences_says_nothing_of_few() -> None:
    pace = PrefillPace()
    pace.note(0, 2, 0.02)
    for _ in range(40):
        pace.note(0, 30, 0.036)
        pace.note(0, 31, 0.044)
    for _ in range(8):
        pace.note(pace.budget(), 14, 0.03 + pace.budget() / 2000)
    assert pace.budget() / 2000 == pytest.approx(0.055, abs=0.01)


def test_a_few_slow_steps_make_nobody_wait_longer() -> None:
    pace = PrefillPace()
    for seconds in [0.005] * 30 + [0.1] * 3:
        pace.note(0, 7, seconds)
    worst = 0.0
    for _ in range(20):
        worst = max(worst, pace.budget() / 2000)
        pace.note(pace.budget(), 7, 0.005 + pace.budget() / 2000)
    assert worst < 0.014


def test_one_slow_step_does_not_undo_what_was_learnt() -> None:
    pace = PrefillPace()
    before = settled(pace, lambda num_tokens: num_tokens / 10_000)
    pace.note(before, 0, 10.0)
    assert pace.budget() >= before // 4 - 16
    assert settled(pace, lambda num_tokens: num_tokens / 10_000, 4) == pytest.approx(before, abs=20)


def test_short_and_small_steps_tell_nothing() -> None:
    pace = PrefillPace()
    before = settled(pace, lambda num_tokens: num_tokens / 10_000)
    pace.note(3, 0, 0.01)
    assert pace.budget() == before


def test_pieces_are_never_tiny() -> None:
    pace = PrefillPace()
    pace.note(0, 1, 0.0001)
    assert settled(pace, lambda num_tokens: num_tokens / 1000) == 8


def test_what_runs_alone_may_take_longer_but_not_for_ever() -> None:
    pace = PrefillPace()
    assert pace.budget_alone == 64
    pace.note(64, 0, 0.64)
    assert pace.budget_alone == 400
    # Small pieces between tokens of others say nothing of it.
    pace.note(16, 0, 1.0)
    assert pace.budget_alone == 400
    pace.note(400, 0, 8.0)
    assert pace.budget_alone == 200
    pace.note(200, 0, 60.0)
    assert pace.budget_alone == 64
