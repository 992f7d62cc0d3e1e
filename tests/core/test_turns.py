"""Owners take turns, and each owner's jobs keep their order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from portico.core.turns import Turns


def order(*arrivals: tuple[str, int], turns: Turns | None = None) -> list[str]:
    """The names of the owners in the order in which jobs that wait together are begun."""
    turns = turns or Turns()
    taken = [(turns.take(owner, weight), owner) for owner, weight in arrivals]
    begun = sorted(taken, key=lambda each: each[0])
    for turn, _ in begun:
        turns.begin(turn)
    return [owner for _, owner in begun]


def test_one_owner_is_served_in_order_of_arrival() -> None:
    turns = Turns()
    taken = [turns.take("", weight) for weight in (1, 3, 1, 16, 1)]
    assert taken == sorted(set(taken))


def test_many_of_one_do_not_hold_up_another() -> None:
    assert order(*[("a", 1)] * 5, ("b", 1), ("b", 1)) == ["a", "b", "a", "b", "a", "a", "a"]
    assert order(("a", 4), ("a", 4), ("b", 1), ("b", 1), ("b", 1)) == ["a", "b", "b", "b", "a"]


def test_who_was_away_has_saved_nothing_up() -> None:
    turns = Turns()
    order(*[("a", 1)] * 100, turns=turns)
    assert order(*[("b", 1)] * 3, *[("a", 1)] * 3, turns=turns)[:4] in (["b", "a", "b", "a"], ["b", "b", "a", "b"])


@given(st.lists(st.sampled_from("abc"), max_size=40))
def test_before_a_job_no_other_owner_has_begun_more_than_one_in_advance(arrivals: list[str]) -> None:
    begun = order(*((owner, 1) for owner in arrivals))
    assert sorted(begun) == sorted(arrivals)
    for index, owner in enumerate(begun):
        num_own = begun[:index].count(owner)
        assert all(begun[:index].count(other) <= num_own + 1 for other in "abc")
