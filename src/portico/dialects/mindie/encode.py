"""Events and results to the native answers of MindIE Service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from portico.core.dialect import Reply
from portico.core.errors import EngineFailure, PorticoError
from portico.core.events import Delta, Event, Finished, FinishReason, Result
from portico.core.request import GenerationRequest
from portico.dialects import wire
from portico.dialects.mindie import errors
from portico.dialects.mindie.schema import Answer, Details, LastEvent, StreamDetails, StreamEvent, StreamToken

_NO_HEADERS: Mapping[str, str] = {}
_BROKEN_OFF = EngineFailure("The generation was broken off.")


@dataclass(frozen=True, slots=True)
class NativeExchange:
    """One native request and how it is answered."""

    request: GenerationRequest
    has_details: bool

    def reply(self, result: Result) -> Reply:
        """The text; 500 when it was broken off."""
        choice = result.choices[0]
        if choice.reason is FinishReason.ABORT:
            return errors.refuse(_BROKEN_OFF)
        details = Details(
            finish_reason=_finish_reason(choice.reason, choice.stop),
            generated_tokens=len(choice.token_ids),
            generated_token_ids=list(choice.token_ids),
            seed=_reported_seed(self.request, choice.seed),
        )
        answer = Answer(generated_text=choice.text, details=details if self.has_details else msgspec.UNSET)
        return Reply(200, wire.encode_json(answer))

    def encoder(self) -> NativeStream:
        """A stream of pieces of text."""
        return NativeStream(self.request, self.has_details)


class NativeStream:
    """An event for each piece of text; the last one carries the whole text in place of its piece."""

    media_type = "text/event-stream"
    keep_alive = b""
    headers = _NO_HEADERS

    def __init__(self, request: GenerationRequest, has_details: bool) -> None:
        self._request = request
        self._has_details = has_details
        self._text = ""
        self._num_tokens = 0

    def feed(self, events: Sequence[Event]) -> bytes:
        """The pieces that have come, or the whole text at the end."""
        pieces: list[Delta] = []
        for event in events:
            match event:
                case Delta():
                    self._text += event.text
                    self._num_tokens += len(event.token_ids)
                    pieces.append(event)
                case Finished():
                    first = _first_of_last(pieces)
                    return b"".join(map(_frame, pieces[:first])) + self._finish(pieces[first:], event)
        return b"".join(map(_frame, pieces))

    def close(self) -> bytes:
        """Nothing: the stream ends by ending."""
        return b""

    def fail(self, error: PorticoError) -> bytes:
        """The error as an event."""
        return wire.sse(errors.encode(error))

    def _finish(self, pieces: Sequence[Delta], finished: Finished) -> bytes:
        if finished.reason is FinishReason.ABORT:
            return b"".join(map(_frame, pieces)) + self.fail(_BROKEN_OFF)
        details = StreamDetails(
            finish_reason=_finish_reason(finished.reason, finished.stop),
            generated_tokens=self._num_tokens,
            seed=_reported_seed(self._request, finished.seed),
        )
        last = LastEvent(
            generated_text=self._text,
            details=details if self._has_details else None,
            token=StreamToken([token_id for piece in pieces for token_id in piece.token_ids], None),
        )
        return wire.sse(wire.encode_json(last))


def _first_of_last(pieces: Sequence[Delta]) -> int:
    """Where the last tokens begin, behind which only text that was held back follows; several steps may have come."""
    return max((position for position, piece in enumerate(pieces) if piece.token_ids), default=0)


def _frame(piece: Delta) -> bytes:
    return wire.sse(wire.encode_json(StreamEvent(token=StreamToken(list(piece.token_ids), piece.text))))


def _finish_reason(reason: FinishReason, stop: str | int | None) -> str:
    if reason is FinishReason.LENGTH:
        return "length"
    return "eos_token" if stop is None else "stop_sequence"


def _reported_seed(request: GenerationRequest, seed: int) -> int | None:
    """The seed of drawn tokens; greedy ones have none."""
    return None if request.sampling.is_greedy else seed
