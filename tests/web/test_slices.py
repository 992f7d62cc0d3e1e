"""How events that piled up behind a slow reader are cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from portico.core.errors import PorticoError
from portico.core.events import Delta, Event, Finished, FinishReason
from portico.web.slices import MAX_EVENTS, encode_in_parts
from tests.core.events import delta, finished


@dataclass
class Keeper:
    """An encoder that keeps what it is fed."""

    frame: bytes
    fed: list[Sequence[Event]] = field(default_factory=list)
    media_type: str = ""
    keep_alive: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def feed(self, events: Sequence[Event]) -> bytes:
        self.fed.append(events)
        return self.frame * len(events)

    def close(self) -> bytes:
        return b""

    def fail(self, error: PorticoError) -> bytes:
        return b""


def answer(num_tokens: int, index: int = 0) -> list[Event]:
    return [
        *(delta(index, "a", [token_id]) for token_id in range(num_tokens)),
        Delta(index, "held back", (), ()),
        finished(index, FinishReason.LENGTH),
    ]


def test_parts_are_bounded_in_events() -> None:
    events = answer(200)
    keeper = Keeper(b"x")
    assert b"".join(encode_in_parts(events, keeper)) == b"x" * len(events)
    assert [event for part in keeper.fed for event in part] == events
    assert all(len(part) <= MAX_EVENTS + 3 for part in keeper.fed)


def test_parts_are_bounded_in_bytes() -> None:
    keeper = Keeper(b"x" * 10_000)
    parts = list(encode_in_parts(answer(100), keeper))
    assert all(len(part) <= 60_000 for part in parts)
    assert len(parts) > 20


def test_parts_are_encoded_when_they_are_asked_for() -> None:
    keeper = Keeper(b"x")
    parts = encode_in_parts(answer(200), keeper)
    next(parts)
    assert len(keeper.fed) == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=300))
def test_an_end_stays_with_the_last_tokens(steps: list[tuple[int, bool]]) -> None:
    events: list[Event] = []
    ended: set[int] = set()
    for index, is_end in steps:
        if index not in ended:
            events.append(finished(index, FinishReason.STOP) if is_end else delta(index, "a", [1]))
            ended |= {index} if is_end else set()
    keeper = Keeper(b"x")
    list(encode_in_parts(events, keeper))
    assert [event for part in keeper.fed for event in part] == events
    tokens_before: set[int] = set()
    for part in keeper.fed:
        here = {event.index for event in part if isinstance(event, Delta)}
        for event in part:
            if isinstance(event, Finished) and event.index in tokens_before:
                assert event.index in here
        tokens_before |= here
