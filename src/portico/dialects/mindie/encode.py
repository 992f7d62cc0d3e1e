"""Events and results to the native answers of MindIE Service."""

from __future__ import annotations

from collections.abc import Mapping
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
    """An event for each piece of text.

    The last event carries the whole text in place of its piece, so that each piece is held back until it is known
    whether another one follows.
    """

    media_type = "text/event-stream"
    headers = _NO_HEADERS

    def __init__(self, request: GenerationRequest, has_details: bool) -> None:
        self._request = request
        self._has_details = has_details
        self._held: Delta | None = None
        self._text = ""
        self._num_tokens = 0

    def feed(self, event: Event) -> bytes:
        """The piece before the newest one, or the whole text at the end."""
        match event:
            case Delta():
                return self._push(event)
            case Finished():
                return self._finish(event)
        return b""

    def close(self) -> bytes:
        """Nothing: the stream ends by ending."""
        return b""

    def fail(self, error: PorticoError) -> bytes:
        """The piece that was held back, and the error as an event."""
        return self._release() + wire.sse(errors.encode(error))

    def _push(self, delta: Delta) -> bytes:
        self._text += delta.text
        self._num_tokens += len(delta.token_ids)
        held = self._held
        if held is not None and not delta.token_ids:
            # Text that was waiting for its end belongs to the tokens before it.
            self._held = Delta(held.index, held.text + delta.text, held.token_ids, held.tokens)
            return b""
        frame = self._release()
        self._held = delta
        return frame

    def _release(self) -> bytes:
        held, self._held = self._held, None
        if held is None:
            return b""
        return wire.sse(wire.encode_json(StreamEvent(token=StreamToken(list(held.token_ids), held.text))))

    def _finish(self, finished: Finished) -> bytes:
        if finished.reason is FinishReason.ABORT:
            return self.fail(_BROKEN_OFF)
        held, self._held = self._held, None
        details = StreamDetails(
            finish_reason=_finish_reason(finished.reason, finished.stop),
            generated_tokens=self._num_tokens,
            seed=_reported_seed(self._request, finished.seed),
        )
        last = LastEvent(
            generated_text=self._text,
            details=details if self._has_details else None,
            token=StreamToken(list(held.token_ids) if held else [], None),
        )
        return wire.sse(wire.encode_json(last))


def _finish_reason(reason: FinishReason, stop: str | int | None) -> str:
    if reason is FinishReason.LENGTH:
        return "length"
    return "eos_token" if stop is None else "stop_sequence"


def _reported_seed(request: GenerationRequest, seed: int) -> int | None:
    """The seed of drawn tokens; greedy ones have none."""
    return None if request.sampling.is_greedy else seed
