"""Answers of `generate` and `generate_stream`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from portico.core.dialect import Reply, StreamEncoder
from portico.core.errors import PorticoError
from portico.core.events import Event, Result
from portico.core.request import GenerationRequest
from portico.dialects.triton import errors
from portico.dialects.triton.layout import Layout, encode
from portico.dialects.triton.responses import whole_response

_NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class TextExchange:
    """One generate request and how it is answered."""

    request: GenerationRequest
    layout: Layout

    def reply(self, result: Result) -> Reply:
        """All choices in one object."""
        return Reply(200, encode(self.layout, whole_response(result, self.layout.prefix)))

    def encoder(self) -> StreamEncoder:
        """A stream of pieces of text, or of one event with all of it."""
        return EventStream(self.request.num_choices, self.layout)


class EventStream:
    """Server-sent events, one for each response; who asked why a choice ended is told so in any case."""

    media_type = "text/event-stream; charset=utf-8"
    keep_alive = b""
    headers = _NO_HEADERS

    def __init__(self, num_choices: int, layout: Layout) -> None:
        self._layout = layout
        tells_end = layout.details or "finish_reason" in layout.outputs
        self._reader = layout.reader(num_choices, tells_end=tells_end)

    def feed(self, events: Sequence[Event]) -> bytes:
        """The responses that are due."""
        responses = [response for event in events for response in self._reader.take(event)]
        responses += self._reader.flush()
        return b"".join(self._frame(encode(self._layout, response)) for response in responses)

    def close(self) -> bytes:
        """Nothing: the stream ends by ending."""
        return b""

    def fail(self, error: PorticoError) -> bytes:
        """The error as an event."""
        return self._frame(errors.encode(error, self._layout.profile.errors))

    def _frame(self, payload: bytes) -> bytes:
        return self._layout.profile.event_prefix + payload + b"\n\n"
