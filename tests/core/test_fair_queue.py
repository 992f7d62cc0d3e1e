"""Owners have equal shares of what is served, and each owner's items keep their order."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from portico.core.fair_queue import FairQueue

Arrivals = list[tuple[str, int]]


def begin_all(queue: FairQueue[tuple[str, int]]) -> list[str]:
    """Serves whatever waits; an item's number is what it costs."""
    begun = []
    while queue:
        owner, cost = item = queue.first()
        queue.remove(owner, item)
        queue.charge(owner, num_prompt_tokens=cost)
        begun.append(owner)
    return begun


def order(*arrivals: tuple[str, int], queue: FairQueue[tuple[str, int]] | None = None) -> list[str]:
    """The owners in the order in which jobs that wait together are begun."""
    queue = FairQueue() if queue is None else queue
    for item in arrivals:
        queue.append(item[0], item)
    return begin_all(queue)


@given(st.lists(st.integers(0, 100)))
def test_one_owner_is_served_in_order_of_arrival(costs: list[int]) -> None:
    queue: FairQueue[int] = FairQueue()
    for number, _ in enumerate(costs):
        queue.append("", number)
    assert list(queue) == list(range(len(costs)))
    begun = []
    for cost in costs:
        begun.append(queue.first())
        queue.remove("", begun[-1])
        queue.charge("", num_prompt_tokens=cost)
    assert begun == sorted(begun)
    assert not queue


def test_many_of_one_do_not_hold_up_another() -> None:
    assert "".join(order(*[("a", 1)] * 5, ("b", 1), ("b", 1))) == "ababaaa"
    assert "".join(order(*[("a", 1)] * 3, *[("b", 1)] * 3, *[("c", 1)] * 3)) == "abcabcabc"


def test_tokens_count_and_not_requests() -> None:
    assert "".join(order(*[("a", 30)] * 3, *[("b", 10)] * 6)) == "abbbabbba"


def test_output_counts_twice_what_a_prompt_does() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    queue.append("a", ("a", 1))
    queue.append("b", ("b", 1))
    queue.charge("a", num_output_tokens=5)
    queue.charge("b", num_prompt_tokens=9)
    assert queue.served("a") > queue.served("b")
    assert begin_all(queue) == ["b", "a"]


def test_who_was_away_has_saved_nothing_up_and_owes_nothing_more() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    order(*[("a", 1)] * 1000, queue=queue)
    assert "".join(order(*[("b", 1)] * 3, *[("a", 1)] * 3, queue=queue)) == "bababa"


def test_what_is_put_back_comes_before_what_was_never_begun() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("first", "second", "third"):
        queue.append("a", item)
    queue.remove("a", "first")
    queue.put_back("a", "first")
    assert list(queue) == ["first", "second", "third"]


def test_who_gives_a_place() -> None:
    queue: FairQueue[str] = FairQueue()
    assert queue.donor("new", {}) is None
    assert queue.donor("new", {"a": 1, "b": 1}) is None
    assert queue.donor("new", {"a": 2, "b": 3}) == "b"
    assert queue.donor("new", {"a": 2, "b": 3, "new": 1}) is None
    assert queue.donor("a", {"a": 8}) is None
    queue.charge("new", num_prompt_tokens=10)
    queue.charge("a", num_prompt_tokens=10)
    assert queue.donor("new", {"a": 2, "b": 3}) == "a"
    queue.charge("new", num_prompt_tokens=1)
    assert queue.donor("new", {"a": 2, "b": 3}) is None


jobs = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 50)), max_size=60)


@given(jobs)
def test_shares_of_owners_that_wait_differ_by_no_more_than_two_jobs(arrivals: Arrivals) -> None:
    """The bound of the paper, whatever the others ask for."""
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for item in arrivals:
        queue.append(item[0], item)
    served: Counter[str] = Counter()
    while queue:
        owner, cost = item = queue.first()
        waiting = {name for name, _ in queue}
        assert max(served[name] for name in waiting) - min(served[name] for name in waiting) <= 100
        queue.remove(owner, item)
        queue.charge(owner, num_prompt_tokens=cost)
        served[owner] += cost
    assert sum(served.values()) == sum(cost for _, cost in arrivals)


@given(jobs, st.integers(1, 50))
def test_nobody_starves(arrivals: Arrivals, cost: int) -> None:
    """One request of another owner comes after at most one job of each, while the others never stop asking."""
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for item in arrivals:
        queue.append(item[0], item)
    queue.append("new", ("new", cost))
    before = 0
    while (item := queue.first())[0] != "new":
        queue.remove(item[0], item)
        queue.charge(item[0], num_prompt_tokens=item[1])
        queue.append(item[0], item)
        before += 1
    assert before <= len({owner for owner, _ in arrivals})
