"""A soak tells growth from noise."""

from __future__ import annotations

import pytest

from reliability.client import Answer, End
from reliability.outcome import Kind
from reliability.soak import Resources, Soaked, slope

MIB = 1 << 20
SAME = Resources(10, 4, 100)


def soaked(minutes: float, mib_per_minute: float, after: Resources = SAME) -> Soaked:
    seconds = range(0, int(60 * minutes), 2)
    samples = [(float(each), int(each * mib_per_minute * MIB / 60) + 50_000 * (each % 3)) for each in seconds]
    return Soaked(samples=samples, before=SAME, after=after)


def test_the_slope_is_that_of_the_line() -> None:
    assert slope([(float(each), 5 + 2 * each) for each in range(30)]) == pytest.approx(2.0)
    assert slope([(1.0, 5)]) == 0.0


def test_one_step_is_no_slope() -> None:
    samples = [(float(each), 10 * MIB * (each > 900)) for each in range(1800)]
    assert Soaked(samples=samples, before=SAME, after=SAME).problems() == []


def test_what_is_given_back_is_no_growth() -> None:
    """More and more often, so that a line through all samples would rise."""
    samples = [(float(each), 24 * MIB * ((each * 7919) % 1500 < each)) for each in range(1260) if each < 1000]
    assert slope(samples) > MIB / 600
    assert Soaked(samples=samples, before=SAME, after=SAME).problems() == []


def test_noise_is_no_growth() -> None:
    assert soaked(30, 0.0).problems() == []
    assert soaked(30, 0.09).problems() == []


@pytest.mark.parametrize(("minutes", "mib_per_minute"), [(30, 0.2), (10, 0.3), (1, 20)])
def test_a_leak_of_memory_is_found(minutes: float, mib_per_minute: float) -> None:
    assert [each[:11] for each in soaked(minutes, mib_per_minute).problems()] == ["memory grew"]


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (Resources(11, 4, 100), "num_fds grew from 10 to 11"),
        (Resources(10, 44, 100), "num_threads grew from 4 to 44"),
        (Resources(10, 4, 99), "1 blocks of KV cache were not freed"),
    ],
)
def test_what_is_not_given_back_is_found(after: Resources, words: str) -> None:
    assert soaked(30, 0.0, after).problems() == [words]


def test_an_unexpected_class_is_a_problem() -> None:
    found = soaked(1, 0.0)
    found.remarks.append(f"{Kind.RESET.value}: {Answer(0, End.LOST).end.value}")
    assert found.problems() == ["reset: the connection ended before the answer did"]
