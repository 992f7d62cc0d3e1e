"""Answers of the TGI routes as MindIE Service writes them: tokens in lists, by their ids only.

Source: MindIE Service's EndPoint API, TGI interface.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portico.core.dialect import Reply
from portico.core.errors import EngineFailure, PorticoError
from portico.core.events import Delta, Event, Finished, FinishReason, Result, Started
from portico.core.request import GenerationRequest
from portico.dialects import wire
from portico.dialects.tgi.layout import Layout, mean_logprob, reported_seed

_NO_HEADERS: Mapping[str, str] = {}
_BROKEN_OFF = EngineFailure("The generation was broken off.")


@dataclass(frozen=True, slots=True)
class MindieExchange:
    """One request of a generating route and how MindIE answers it."""

    request: GenerationRequest
    layout: Layout

    def reply(self, result: Result) -> Reply:
        """The best choice; 500 when one was broken off."""
        layout = self.layout
        if any(choice.reason is FinishReason.ABORT for choice in result.choices):
            return layout.profile.refuse(_BROKEN_OFF)
        best = max(result.choices, key=mean_logprob)
        answer: dict[str, Any] = {}
        if layout.has_details:
            num_tokens = len(best.token_ids)
            answer["details"] = {
                "prompt_tokens": result.usage.num_prompt_tokens,
                "finish_reason": layout.finish_reason(best.reason, best.stop, num_tokens),
                "generated_tokens": num_tokens,
                "prefill": [_token(token.id) for token in result.prompts[0]],
                "seed": reported_seed(self.request, best.seed),
                "tokens": [_token(token_id) for token_id in best.token_ids],
            }
        answer["generated_text"] = layout.prefix + best.text
        return Reply(200, wire.encode_json([answer] if layout.in_array else answer))

    def encoder(self) -> MindieStream:
        """A stream of pieces of text."""
        return MindieStream(self.request, self.layout)


class MindieStream:
    """One event per piece of text; the last one carries the whole text."""

    media_type = "text/event-stream"
    headers = _NO_HEADERS
    keep_alive = b""

    def __init__(self, request: GenerationRequest, layout: Layout) -> None:
        self._request = request
        self._layout = layout
        self._text = ""
        self._num_tokens = 0
        self._num_prompt_tokens = 0

    def feed(self, events: Sequence[Event]) -> bytes:
        """The pieces that have come, the last one of the choice with the whole text."""
        pieces: list[Delta] = []
        frames = b""
        for event in events:
            match event:
                case Started():
                    self._num_prompt_tokens = event.num_prompt_tokens[0]
                case Delta():
                    self._text += event.text
                    self._num_tokens += len(event.token_ids)
                    pieces.append(event)
                case Finished():
                    first = _first_of_last(pieces)
                    frames = self._finish(_joined(pieces[first:]), event)
                    del pieces[first:]
        return b"".join(self._frame(piece.token_ids, piece.text, None, None) for piece in pieces) + frames

    def close(self) -> bytes:
        """Nothing: the stream ends by ending."""
        return b""

    def fail(self, error: PorticoError) -> bytes:
        """The error as an event."""
        return wire.sse(self._layout.profile.encode_error(error))

    def _finish(self, last: Delta, finished: Finished) -> bytes:
        if finished.reason is FinishReason.ABORT:
            return self._frame(last.token_ids, last.text, None, None) + self.fail(_BROKEN_OFF)
        details: dict[str, Any] | None = None
        if self._layout.has_details:
            details = {
                "prompt_tokens": self._num_prompt_tokens,
                "finish_reason": self._layout.finish_reason(finished.reason, finished.stop, self._num_tokens),
                "generated_tokens": self._num_tokens,
                "seed": reported_seed(self._request, finished.seed),
            }
        return self._frame(last.token_ids, last.text, self._text, details)

    def _frame(
        self, token_ids: Sequence[int], text: str, whole: str | None, details: Mapping[str, Any] | None
    ) -> bytes:
        token = {"id": token_ids, "text": text, "logprob": None, "special": None}
        return wire.sse(wire.encode_json({"token": token, "generated_text": whole, "details": details}))


def _first_of_last(pieces: Sequence[Delta]) -> int:
    """Where the last tokens begin, behind which only text that was held back follows; several steps may have come."""
    return max((position for position, piece in enumerate(pieces) if piece.token_ids), default=0)


def _joined(pieces: Sequence[Delta]) -> Delta:
    """What came together with the end, as one piece."""
    token_ids = tuple(token_id for piece in pieces for token_id in piece.token_ids)
    return Delta(0, "".join(piece.text for piece in pieces), token_ids, ())


def _token(token_id: int) -> dict[str, Any]:
    return {"id": token_id, "logprob": None, "special": None, "text": None}
