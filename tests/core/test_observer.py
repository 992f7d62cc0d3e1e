"""Records take in what happens to a request and report it step by step."""

from __future__ import annotations

import pytest

from portico.core.errors import EngineFailure, InvalidParameter, NotReady, Overloaded
from portico.core.events import FinishReason, Prefilled, Started
from portico.core.observer import Observers, Outcome, RequestRecord
from tests.core.events import delta, finished


class Memory:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, bool]] = []
        self.ended: list[RequestRecord] = []

    def on_step(self, record: RequestRecord, num_tokens: int, interval: float | None) -> None:
        assert interval is None or interval >= 0
        self.steps.append((num_tokens, interval is None))

    def on_end(self, record: RequestRecord) -> None:
        self.ended.append(record)


def record() -> RequestRecord:
    return RequestRecord("id", "openai", "/v1/completions")


def test_a_request_from_start_to_end() -> None:
    memory, request = Memory(), record()
    request.observe([Started("m", (3, 4))], memory)
    assert request.started_at is not None
    request.observe([Prefilled(0, 2, ()), Prefilled(1, 1, ())], memory)
    assert memory.steps == []
    request.observe([delta(0, "a", [1]), delta(1, "b", [2, 3])], memory)
    assert request.first_token_at == request.last_token_at
    request.observe([delta(0, "", [4]), finished(0), finished(1, FinishReason.LENGTH)], memory)
    request.end(200, memory)
    assert memory.steps == [(3, True), (1, False)]
    assert memory.ended == [request]
    assert (request.model, request.num_prompt_tokens, request.num_cached_tokens) == ("m", 7, 3)
    assert (request.num_output_tokens, request.num_steps, request.queue_time) == (4, 2, 0.25)
    assert request.finish_reasons == [FinishReason.STOP, FinishReason.LENGTH]
    assert (request.status, request.outcome, request.error_kind) == (200, Outcome.ANSWERED, "")
    assert request.ended_at is not None
    assert request.received_at <= request.started_at <= request.ended_at


def test_text_without_tokens_is_no_step() -> None:
    memory, request = Memory(), record()
    request.observe([delta(0, "held back", [])], memory)
    assert memory.steps == []
    assert request.first_token_at is None


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (InvalidParameter("n", "No."), Outcome.REFUSED),
        (Overloaded("Full."), Outcome.REFUSED),
        (NotReady("Loading."), Outcome.REFUSED),
        (EngineFailure("Gone."), Outcome.FAILED),
        (ZeroDivisionError(), Outcome.FAILED),
    ],
)
def test_errors(error: Exception, outcome: Outcome) -> None:
    request = record()
    request.fail(error)
    assert (request.outcome, request.error_kind) == (outcome, type(error).__name__)


def test_nothing_is_refused_once_it_was_begun() -> None:
    request = record()
    request.observe([Started("m", (1,))], Observers())
    request.fail(NotReady("Restarting."))
    assert request.outcome is Outcome.FAILED


def test_a_client_that_leaves() -> None:
    request = record()
    request.cancel()
    assert request.outcome is Outcome.CANCELLED


def test_several_observers_are_told() -> None:
    first, second = Memory(), Memory()
    request = record()
    observers = Observers(first, second)
    request.observe([delta(0, "a", [1])], observers)
    request.end(200, observers)
    assert first.steps == second.steps == [(1, True)]
    assert first.ended == second.ended == [request]
