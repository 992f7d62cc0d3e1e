"""Prompts, lengths, arrivals, and the mathematics of summaries."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable

import pytest

from portico.bench.load import Outcome
from portico.bench.summary import Spread, percentile, summarise
from portico.bench.wires import WIRES, Target
from portico.bench.workload import BenchRequest, Lengths, Workload, arrival_times, make_requests

MakeWorkload = Callable[..., Workload]


def test_lengths() -> None:
    assert Lengths.parse("128") == Lengths(128, 128)
    assert Lengths.parse("64:256") == Lengths(64, 256)
    assert [str(Lengths(5, 5)), str(Lengths(5, 9))] == ["5", "5:9"]


@pytest.mark.parametrize("text", ["", "x", "0", "9:5", "5:", ":5", "-3", "1.5"])
def test_what_is_no_length(text: str) -> None:
    with pytest.raises(ValueError, match="length"):
        Lengths.parse(text)


def test_requests_depend_on_the_seed_and_the_part_alone(workload: MakeWorkload) -> None:
    first = make_requests(workload(), 30, "a")
    assert first == make_requests(workload(), 30, "a")
    assert first != make_requests(workload(), 30, "b")
    assert first != make_requests(workload(seed=2), 30, "a")
    assert {len(request.prompt_ids) for request in first} == set(range(4, 10))
    assert {request.output_len for request in first} == set(range(2, 8))


def test_a_shared_prefix_is_shared_within_a_part(workload: MakeWorkload) -> None:
    shared = workload(shared_prefix_len=50)
    prefixes = {request.prompt_ids[:50] for request in make_requests(shared, 8, "a")}
    assert len(prefixes) == 1
    assert {request.prompt_ids[50:] for request in make_requests(shared, 8, "a")} != {()}
    assert prefixes != {request.prompt_ids[:50] for request in make_requests(shared, 8, "b")}


def test_arrivals_are_a_poisson_process() -> None:
    times = arrival_times(20_000, 5.0, seed=1)
    gaps = [after - before for before, after in zip([0.0, *times], times, strict=False)]
    assert min(gaps) > 0
    assert statistics.fmean(gaps) == pytest.approx(0.2, rel=0.05)
    # Of an exponential distribution: the deviation is the mean, and a share of 1/e is longer than it.
    assert statistics.stdev(gaps) == pytest.approx(0.2, rel=0.05)
    assert sum(gap > 0.2 for gap in gaps) / len(gaps) == pytest.approx(1 / math.e, rel=0.05)
    assert list(times) == list(arrival_times(20_000, 5.0, seed=1))


def test_few_arrivals_come_at_their_rate_too() -> None:
    for seed in range(5):
        times = arrival_times(20, 4.0, seed)
        assert times[-1] == pytest.approx(5.0)
        assert 0 < times[0] < 5
        assert list(times) == sorted(times)
    assert arrival_times(20, 4.0, 0) != arrival_times(20, 4.0, 1)


def test_percentiles() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.5
    assert percentile(list(map(float, range(101))), 99) == 99
    assert percentile([7.0], 99) == 7
    assert math.isnan(percentile([], 50))
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, pytest.approx(2.98), 2.0)  # type: ignore[arg-type]


def test_extra_fields_are_added_and_taken_out() -> None:
    target = Target("http://127.0.0.1", "mine", extra={"cache_prompt": False, "ignore_eos": None})
    path, body = WIRES["openai"].encode(BenchRequest((400, 401), 5, 1, 0), target)
    fields = json.loads(body)
    assert path == "/v1/completions"
    assert fields["prompt"] == [400, 401]
    assert (fields["model"], fields["max_tokens"], fields["cache_prompt"]) == ("mine", 5, False)
    assert "ignore_eos" not in fields


def test_a_summary() -> None:
    request = BenchRequest((1, 2, 3), output_len=5, num_choices=1, seed=0)
    outcomes = [
        Outcome(request, 10.0, 2.0, first_text=0.5, last_text=1.5, num_output_tokens=5, gaps=(0.5, 0.5)),
        Outcome(request, 11.0, 4.0, first_text=1.0, last_text=3.0, num_output_tokens=4, gaps=(1.0, 1.0)),
        Outcome(request, 10.5, 9.5, error="broken"),
    ]
    summary = summarise(outcomes)
    assert (summary.num_requests, summary.num_failed, summary.num_short) == (3, 1, 1)
    assert summary.duration == 10.0
    assert summary.output_throughput == 0.9
    assert summary.request_throughput == 0.2
    assert summary.first_token.median == 0.75
    assert summary.inter_token.median == 0.75
    assert summary.per_token.mean == pytest.approx((1 / 4 + 2 / 3) / 2)
    assert summary.errors == {"broken": 1}


def test_a_summary_of_nothing() -> None:
    summary = summarise([])
    assert summary.output_throughput == 0
    assert math.isnan(summary.end_to_end.p99)
