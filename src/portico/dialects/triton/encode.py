"""Events and results to Triton's answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from portico.core.dialect import Reply, StreamEncoder
from portico.core.errors import PorticoError
from portico.core.events import Choice, Delta, Event, Finished, Result, Started, fold
from portico.core.request import GenerationRequest
from portico.dialects.triton import errors
from portico.dialects.triton.layout import Layout, Part, detailed_reason, encode, total_logprob

_NO_HEADERS: Mapping[str, str] = {}
_MEDIA_TYPE = "text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True)
class TensorExchange:
    """One generate request and how it is answered."""

    request: GenerationRequest
    layout: Layout

    def reply(self, result: Result) -> Reply:
        """All choices in one object."""
        return Reply(200, encode_result(self.layout, result))

    def encoder(self) -> StreamEncoder:
        """A stream of pieces of text, or of one event with all of it."""
        if self.layout.is_incremental:
            return PieceStream(self.request.num_choices, self.layout)
        return WholeStream(self.request.num_choices, self.layout)


def encode_result(layout: Layout, result: Result) -> bytes:
    """A whole answer."""
    parts = [_whole_part(layout, choice) for choice in result.choices]
    return encode(layout, result.model, result.usage.num_prompt_tokens, parts)


def _whole_part(layout: Layout, choice: Choice) -> Part:
    return Part(
        text=layout.prefix + choice.text,
        num_tokens=len(choice.token_ids),
        tokens=choice.tokens,
        total_tokens=len(choice.token_ids),
        logprob=total_logprob(choice.tokens),
        reason=choice.reason,
        detailed_reason=detailed_reason(choice.reason, choice.stop),
    )


class WholeStream:
    """A stream with one event, when all choices have ended."""

    media_type = _MEDIA_TYPE
    headers = _NO_HEADERS

    def __init__(self, num_choices: int, layout: Layout) -> None:
        self._layout = layout
        self._num_open = num_choices
        self._events: list[Event] = []

    def feed(self, event: Event) -> bytes:
        """Nothing, until the last choice ends."""
        self._events.append(event)
        if isinstance(event, Finished):
            self._num_open -= 1
            if self._num_open == 0:
                return _frame(self._layout, encode_result(self._layout, fold(self._events)))
        return b""

    def close(self) -> bytes:
        """Nothing: the stream ends by ending."""
        return b""

    def fail(self, error: PorticoError) -> bytes:
        """The error as the one event."""
        return _frame(self._layout, errors.encode(error, self._layout.profile.errors))


class PieceStream:
    """An event for each piece of a choice; the other choices are empty in it.

    The last event of a choice tells why it ended, so that each piece is held back until it is known whether another
    one follows. When nobody asked for the reason, pieces go out at once.
    """

    media_type = _MEDIA_TYPE
    headers = _NO_HEADERS

    def __init__(self, num_choices: int, layout: Layout) -> None:
        self._layout = layout
        self._holds = layout.finish_reason or layout.details
        self._held: dict[int, Delta] = {}
        self._parts = [Part("", 0, (), 0, 0.0, None, None)] * num_choices
        self._model = ""
        self._num_input_tokens = 0
        self._has_spoken = [False] * num_choices

    def feed(self, event: Event) -> bytes:
        """The events for one piece or for the end of a choice."""
        match event:
            case Started():
                self._model = event.model
                self._num_input_tokens = sum(event.num_prompt_tokens)
            case Delta():
                return self._push(event) if self._holds else self._speak(event)
            case Finished():
                return self._finish(event)
        return b""

    def close(self) -> bytes:
        """Nothing: the stream ends by ending."""
        return b""

    def fail(self, error: PorticoError) -> bytes:
        """The pieces that were held back, and the error as an event."""
        held, self._held = self._held, {}
        frames = [self._speak(delta) for delta in held.values()]
        return b"".join(frames) + _frame(self._layout, errors.encode(error, self._layout.profile.errors))

    def _push(self, delta: Delta) -> bytes:
        held = self._held.get(delta.index)
        if held is not None and not delta.token_ids:
            # Text that was waiting for its end belongs to the tokens before it.
            self._held[delta.index] = Delta(held.index, held.text + delta.text, held.token_ids, held.tokens)
            return b""
        self._held[delta.index] = delta
        return b"" if held is None else self._speak(held)

    def _finish(self, finished: Finished) -> bytes:
        index = finished.index
        delta = self._held.pop(index, None)
        if delta is None and self._has_spoken[index] and not self._holds:
            return b""
        return self._speak(delta or Delta(index, "", (), ()), finished)

    def _speak(self, delta: Delta, finished: Finished | None = None) -> bytes:
        index = delta.index
        before = self._parts[index]
        part = Part(
            text=delta.text,
            num_tokens=len(delta.token_ids),
            tokens=delta.tokens,
            total_tokens=before.total_tokens + len(delta.token_ids),
            logprob=before.logprob + total_logprob(delta.tokens),
            reason=finished.reason if finished else None,
            detailed_reason=detailed_reason(finished.reason, finished.stop) if finished else None,
        )
        self._has_spoken[index] = True
        parts = [_without_news(each) for each in self._parts]
        parts[index] = part
        self._parts = parts
        return _frame(self._layout, encode(self._layout, self._model, self._num_input_tokens, parts))


def _without_news(part: Part) -> Part:
    return Part("", 0, (), part.total_tokens, part.logprob, part.reason, part.detailed_reason)


def _frame(layout: Layout, payload: bytes) -> bytes:
    return layout.profile.event_prefix + payload + b"\n\n"
