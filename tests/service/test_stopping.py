"""Requests that are ended from outside: by name, by time, and by a server that closes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from portico.core.errors import NotReady, PromptTooLong, TimedOut
from portico.core.events import Delta, Event, Finished, FinishReason, fold
from portico.core.request import GenerationRequest
from portico.service.admission import Admission
from portico.service.generation import GenerationService
from portico.service.preparation import Preparation
from tests.requests import make_request
from tests.service.conftest import Bench

LONG = "hello " * 40


async def collect(service: GenerationService, request: GenerationRequest) -> list[Event]:
    return [event async for batch in service.generate(request) for event in batch]


def has_text(batch: Sequence[Event]) -> bool:
    return any(isinstance(event, Delta) for event in batch)


async def test_a_stopped_request_ends_where_it_is(bench: Bench) -> None:
    service = await bench.start(LONG, token_delay=0.005)
    request = make_request(client_id="mine", stopping={"max_tokens": 200, "stop": ("zzz",)}, output={"num_choices": 2})
    events: list[Event] = []
    async for batch in service.generate(request):
        events.extend(batch)
        if has_text(batch):
            service.stop("mine")
    result = fold(events)
    assert [choice.reason for choice in result.choices] == [FinishReason.ABORT] * 2
    assert all(len(choice.token_ids) < 20 for choice in result.choices)
    assert all(LONG.startswith(choice.text) for choice in result.choices)
    assert bench.engine.stats().num_running == 0
    assert not service.stop("mine")


async def test_a_request_is_stopped_before_its_first_token(bench: Bench) -> None:
    service = await bench.start(LONG, prefill_delay=5)
    task = asyncio.ensure_future(collect(service, make_request(client_id="mine")))
    await asyncio.sleep(0.05)
    assert not service.stop("other")
    assert service.stop("mine")
    events = await asyncio.wait_for(task, 1)
    assert isinstance(events[-1], Finished)
    assert events[-1].reason is FinishReason.ABORT


async def test_all_requests_of_a_name_are_stopped(bench: Bench) -> None:
    service = await bench.start(LONG, token_delay=0.005)
    request = make_request(client_id="mine", stopping={"max_tokens": 200})
    tasks = [asyncio.ensure_future(collect(service, request)) for _ in range(2)]
    await asyncio.sleep(0.05)
    assert service.stop("mine")
    for events in await asyncio.gather(*tasks):
        assert fold(events).choices[0].reason is FinishReason.ABORT


async def test_a_request_is_given_up_after_its_time(bench: Bench) -> None:
    service = await bench.start(LONG, token_delay=0.01)
    seen: list[Event] = []

    async def read() -> None:
        async for batch in service.generate(make_request(timeout=0.1, stopping={"max_tokens": 200})):
            seen.extend(batch)

    with pytest.raises(TimedOut):
        await read()
    assert has_text(seen)
    await asyncio.sleep(0.05)
    assert bench.engine.stats().num_running == 0


async def test_a_request_in_time_is_answered_whole(bench: Bench) -> None:
    service = await bench.start("hello")
    events = await collect(service, make_request(timeout=5.0))
    assert fold(events).choices[0].text == "hello"


async def test_the_end_comes_with_the_last_tokens(bench: Bench) -> None:
    service = await bench.start("hello")
    batches = [batch async for batch in service.generate(make_request(stopping={"stop": ("lo",)}))]
    assert isinstance(batches[-1][-1], Finished)
    assert any(isinstance(event, Delta) and event.token_ids for event in batches[-1])


async def test_a_stop_string_within_a_token_does_not_count_where_only_ends_do(bench: Bench) -> None:
    service = await bench.start("hello")
    for stop, reason in (("ell", FinishReason.STOP), ("zz", FinishReason.LENGTH)):
        request = make_request(stopping={"stop": (stop,), "max_tokens": 5, "stop_at_token_end": True})
        assert fold(await collect(service, request)).choices[0].reason is reason


async def test_the_context_must_leave_the_room_that_was_asked_for(bench: Bench) -> None:
    service = await bench.start("hello")
    stopping = {"max_tokens": 4000, "clamps_max_tokens": True}
    request = make_request("x" * 400, stopping={**stopping, "min_room": 100})
    assert fold(await collect(service, request)).choices[0].text == "hello"
    with pytest.raises(PromptTooLong) as refusal:
        await collect(service, make_request("x" * 400, stopping={**stopping, "min_room": 200}))
    assert refusal.value.max_tokens == 200


async def test_a_prompt_over_the_operators_limit_is_refused(bench: Bench) -> None:
    await bench.start()
    preparation = Preparation(bench.tokenizer, None, max_prompt_tokens=5)
    assert preparation.prepare(make_request("x" * 5), bench.engine.info)
    with pytest.raises(PromptTooLong):
        preparation.prepare(make_request("x" * 6), bench.engine.info)


def test_a_closed_door_lets_nobody_in() -> None:
    admission = Admission(1, 1)
    with admission.admit(1):
        admission.close()
        assert admission.num_requests == 1
    with pytest.raises(NotReady, match="has been stopped"), admission.admit(1):
        pass


async def test_a_request_that_was_broken_off_lets_no_other_begin(bench: Bench) -> None:
    service = await bench.start(LONG, token_delay=0.01)
    running = asyncio.ensure_future(collect(service, make_request(stopping={"max_tokens": 200})))
    await asyncio.sleep(0.05)
    service.break_off(NotReady("It ends."))
    with pytest.raises(NotReady, match="It ends"):
        await running
    with pytest.raises(NotReady, match="It ends"):
        await collect(service, make_request())
    assert bench.engine.stats().num_running == 0
