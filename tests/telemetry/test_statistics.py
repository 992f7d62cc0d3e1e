"""What is counted of requests of every outcome."""

from __future__ import annotations

import time
from dataclasses import astuple

import pytest

from portico.core.errors import EngineFailure, InvalidParameter, Overloaded
from portico.core.observer import RequestRecord
from portico.telemetry.statistics import Statistics


def record(**fields: float) -> RequestRecord:
    made = RequestRecord("id", "first", "/write", received_at=100.0)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def end(statistics: Statistics, ended: RequestRecord, at: float) -> None:
    ended.ended_at = at
    statistics.on_end(ended)


def test_the_parts_of_an_answer_add_up() -> None:
    statistics = Statistics()
    end(statistics, record(started_at=101.0, queue_time=0.5, last_token_at=104.0), 104.25)
    end(statistics, record(started_at=101.0, queue_time=0.5, last_token_at=104.0), 104.25)
    counts = statistics.counts
    assert (counts.num_answered, counts.num_failed) == (2, 0)
    parts = (counts.prepare_seconds, counts.queue_seconds, counts.generate_seconds, counts.deliver_seconds)
    assert parts == (2.0, 1.0, 5.0, 0.5)
    assert sum(parts) == counts.answered_seconds
    assert counts.last_answered_at == pytest.approx(time.time(), abs=60)


def test_an_answer_without_a_token() -> None:
    statistics = Statistics()
    end(statistics, record(started_at=101.0), 102.0)
    assert statistics.counts.generate_seconds == 1.0
    assert statistics.counts.deliver_seconds == 0.0


def test_what_was_begun_and_broken_off_failed() -> None:
    statistics = Statistics()
    failed, cancelled = record(started_at=101.0), record(started_at=101.0)
    failed.fail(EngineFailure("It stopped."))
    cancelled.cancel()
    end(statistics, failed, 103.0)
    end(statistics, cancelled, 102.0)
    counts = statistics.counts
    assert (counts.num_answered, counts.num_failed, counts.num_cancelled, counts.failed_seconds) == (0, 1, 1, 5.0)


def test_a_busy_server_rejects() -> None:
    statistics = Statistics()
    rejected = record()
    rejected.fail(Overloaded("The queue is full."))
    end(statistics, rejected, 101.0)
    assert statistics.counts.num_rejected == 1


def test_what_was_never_begun_does_not_count() -> None:
    statistics = Statistics()
    refused = record()
    refused.fail(InvalidParameter("n", "n is wrong."))
    end(statistics, refused, 101.0)
    end(statistics, record(), 101.0)
    assert not any(astuple(statistics.counts))
