"""What waits to be written, in parts that are no more than a reader can be expected to take at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from portico.core.dialect import StreamEncoder
from portico.core.events import Delta, Event, Finished

# Events and bytes that a part has at most, unless a single event has more.
MAX_EVENTS = 32
_MAX_BYTES = 32 * 1024
_FIRST_EVENTS = 4


def encode_in_parts(events: Sequence[Event], encoder: StreamEncoder) -> Iterator[bytes]:
    """The bytes of many events, encoded part by part as they are asked for.

    The end of a choice stays with its last tokens, as encoders expect. How many events a part has is learned from
    the part before it.
    """
    most = _FIRST_EVENTS
    start = 0
    for end in _allowed_ends(events):
        if end - start >= most or end == len(events):
            part = encoder.feed(events[start:end])
            yield part
            most = max(1, min(MAX_EVENTS, _MAX_BYTES * (end - start) // max(len(part), 1)))
            start = end


def _allowed_ends(events: Sequence[Event]) -> list[int]:
    """Where a part may end: not between the last tokens of a choice and its end."""
    last_tokens: dict[int, int] = {}
    opened = [0] * (len(events) + 1)
    for position, event in enumerate(events):
        if isinstance(event, Delta) and event.token_ids:
            last_tokens[event.index] = position
        elif isinstance(event, Finished) and event.index in last_tokens:
            opened[last_tokens[event.index] + 1] += 1
            opened[position + 1] -= 1
    ends, num_open = [], 0
    for position, change in enumerate(opened):
        num_open += change
        if position and not num_open:
            ends.append(position)
    return ends
