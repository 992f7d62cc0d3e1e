"""Room for sequences: exactly as many as there may be, and none is shut out by another."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.core.errors import Overloaded
from portico.service.admission import Admission

LIMIT = 12


def test_one_owner_has_exactly_the_limit() -> None:
    admission = Admission(4, 8)
    with ExitStack() as stack:
        for _ in range(LIMIT):
            stack.enter_context(admission.admit(1))
        with pytest.raises(Overloaded, match="12 sequences are running or waiting, the limit is 12"):
            stack.enter_context(admission.admit(1))
    with ExitStack() as stack:
        stack.enter_context(admission.admit(100))
        with pytest.raises(Overloaded):
            stack.enter_context(admission.admit(1))
    with admission.admit(LIMIT):
        assert admission.num_requests == 1


def test_an_owner_that_fills_the_queue_shuts_nobody_out() -> None:
    admission = Admission(4, 8)
    with ExitStack() as stack:
        for _ in range(LIMIT):
            stack.enter_context(admission.admit(1, "a"))
        for _ in range(6):
            stack.enter_context(admission.admit(1, "b"))
        for owner in ("a", "b"):
            with pytest.raises(Overloaded):
                stack.enter_context(admission.admit(1, owner))
        for _ in range(4):
            stack.enter_context(admission.admit(1, "c"))
        with pytest.raises(Overloaded):
            stack.enter_context(admission.admit(1, "c"))
    with admission.admit(1, "a"):
        pass


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 5), st.booleans()), max_size=80))
def test_who_is_refused_has_its_part_or_all_is_full(steps: list[tuple[str, int, bool]]) -> None:
    admission = Admission(4, 8)
    held: list[tuple[ExitStack, str, int]] = []
    for owner, num_sequences, leaves in steps:
        if leaves and held:
            held.pop(0)[0].close()
            continue
        counts = Counter(dict.fromkeys((owner, *(each[1] for each in held)), 0))
        for _, name, number in held:
            counts[name] += number
        stack = ExitStack()
        try:
            stack.enter_context(admission.admit(num_sequences, owner))
        except Overloaded:
            assert counts.total() + num_sequences > LIMIT
            is_full = counts.total() + num_sequences > 2 * LIMIT
            assert is_full or counts[owner] + num_sequences > LIMIT // len(counts)
            continue
        assert counts.total() + num_sequences <= 2 * LIMIT
        held.append((stack, owner, num_sequences))
    for stack, _, _ in held:
        stack.close()
    assert admission.num_requests == 0
    with admission.admit(LIMIT, "a"):
        pass
