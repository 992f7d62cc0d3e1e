"""Shares are kept to the request and to the token, within any minute, whatever the order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.core.errors import QuotaExceeded
from portico.core.tenant import ANONYMOUS, Quota, Tenant
from portico.service.quota import Quotas


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def tenant(**limits: int) -> Tenant:
    return Tenant("alice", "salt", Quota(**limits))


def use(quotas: Quotas, who: Tenant, prompt: int = 1, output: int = 0) -> None:
    with quotas.admit(who) as usage:
        usage.charge_prompt(prompt)
        usage.num_output_tokens += output


def test_requests_are_counted_exactly_and_others_are_not_affected() -> None:
    clock = Clock()
    quotas = Quotas(clock)
    alice, bob = tenant(requests_per_minute=3), Tenant("bob", "", Quota(requests_per_minute=1))
    for _ in range(3):
        use(quotas, alice)
        clock.now += 10
    with pytest.raises(QuotaExceeded, match="`alice` may use 3 requests per minute: 3 were used") as refused:
        use(quotas, alice)
    assert (refused.value.kind, refused.value.retry_after) == ("requests", 30)
    use(quotas, bob)
    use(quotas, ANONYMOUS)
    clock.now += 29.9
    with pytest.raises(QuotaExceeded):
        quotas.count(alice)
    clock.now += 0.1
    quotas.count(alice)


def test_what_is_refused_costs_nothing() -> None:
    quotas = Quotas(Clock())
    alice = tenant(tokens_per_minute=10)
    with pytest.raises(QuotaExceeded, match="this request takes 11") as refused:
        use(quotas, alice, prompt=11)
    assert refused.value.retry_after == 60
    use(quotas, alice, prompt=10)
    with pytest.raises(QuotaExceeded, match="10 were used"):
        use(quotas, alice)


def test_output_is_charged_in_the_end() -> None:
    clock = Clock()
    quotas = Quotas(clock)
    alice = tenant(tokens_per_minute=10)
    use(quotas, alice, prompt=4, output=20)
    clock.now += 59
    with pytest.raises(QuotaExceeded, match="24 were used") as refused:
        use(quotas, alice)
    assert refused.value.retry_after == 1
    clock.now += 1
    use(quotas, alice, prompt=10)


def test_parallel_requests_give_their_places_back() -> None:
    quotas = Quotas(Clock())
    alice = tenant(max_parallel_requests=2)
    for _ in range(2):
        with ExitStack() as stack:
            stack.enter_context(quotas.admit(alice))
            stack.enter_context(quotas.admit(alice))
            with pytest.raises(QuotaExceeded, match="2 requests at once"):
                use(quotas, alice)
            stack.enter_context(quotas.admit(tenant()))
    with pytest.raises(RuntimeError), quotas.admit(alice):
        raise RuntimeError
    use(quotas, alice)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 7.0, 59.5, 60.0]), st.integers(1, 6)), max_size=60))
def test_no_minute_has_more_than_its_share(steps: Sequence[tuple[float, int]]) -> None:
    clock = Clock()
    quotas = Quotas(clock)
    alice = tenant(requests_per_minute=4, tokens_per_minute=12)
    admitted: list[tuple[float, int]] = []
    for pause, tokens in steps:
        clock.now += pause
        recent = [each for moment, each in admitted if moment > clock.now - 60]
        fits = len(recent) < 4 and sum(recent) + tokens <= 12
        with nullcontext() if fits else pytest.raises(QuotaExceeded) as refused:
            use(quotas, alice, prompt=tokens)
        if fits:
            admitted.append((clock.now, tokens))
            continue
        assert refused is not None
        assert 1 <= refused.value.retry_after <= 60
        if len(recent) < 4 and sum(recent) < 12:
            # It was let in as a request, and only then found to have too many tokens.
            admitted.append((clock.now, 0))
