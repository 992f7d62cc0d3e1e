"""Answers of `POST /v1/completions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portico.core.dialect import Reply
from portico.core.errors import PorticoError
from portico.core.events import Delta, Event, Finished, FinishReason, Result, Started, Usage
from portico.core.request import GenerationRequest
from portico.dialects import wire
from portico.dialects.tgi import errors
from portico.dialects.tgi.layout import ended_by
from portico.dialects.tgi.v1.layout import Layout, encode_usage

_KIND = "text_completion"


@dataclass(frozen=True, slots=True)
class CompletionExchange:
    """A request with one or several prompts, and its answer with a choice for each."""

    request: GenerationRequest
    layout: Layout

    def reply(self, result: Result) -> Reply:
        """The whole answer; 500 when a choice was broken off."""
        if any(choice.reason is FinishReason.ABORT for choice in result.choices):
            return Reply(500, errors.incomplete("incomplete_generation"))
        body = self.layout.head(_KIND, result.model)
        body["choices"] = [
            _choice(
                choice.index,
                choice.text,
                self.layout.finish_reason(choice.reason, choice.stop, len(choice.token_ids)),
            )
            for choice in result.choices
        ]
        body["usage"] = encode_usage(result.usage)
        return Reply(200, wire.encode_json(body))

    def encoder(self) -> CompletionStream:
        """A stream of chunks."""
        return CompletionStream(self)


class CompletionStream:
    """A chunk per token; the last one of each prompt has the reason and the counts of that prompt."""

    media_type = "text/event-stream"
    keep_alive = b":\n\n"

    def __init__(self, exchange: CompletionExchange) -> None:
        self.headers: Mapping[str, str] = {"x-compute-type": exchange.layout.profile.compute_type}
        self._layout = exchange.layout
        self._head: dict[str, Any] = {}
        self._num_prompt_tokens: tuple[int, ...] = ()
        self._num_tokens: dict[int, int] = {}

    def feed(self, events: Sequence[Event]) -> bytes:
        """The chunks of what has come."""
        ends = {event.index: event for event in events if isinstance(event, Finished)}
        last = {event.index: event for event in events if isinstance(event, Delta)}
        chunks = []
        for event in events:
            match event:
                case Started():
                    self._head = self._layout.head(_KIND, event.model)
                    self._num_prompt_tokens = event.num_prompt_tokens
                case Delta():
                    self._num_tokens[event.index] = self._num_tokens.get(event.index, 0) + len(event.token_ids)
                    if event.index not in ends or last[event.index] is not event:
                        chunks.append(self._encode(event.index, event.text, ""))
                case Finished():
                    chunks.append(self._finish(event, last.get(event.index)))
        return b"".join(chunks)

    def close(self) -> bytes:
        """The end of the stream."""
        return errors.DONE

    def fail(self, error: PorticoError) -> bytes:
        """The error as a chunk, and the end of the stream."""
        return wire.sse(errors.encode_chunk(error)) + errors.DONE

    def _finish(self, finished: Finished, piece: Delta | None) -> bytes:
        if finished.reason is FinishReason.ABORT:
            return wire.sse(errors.incomplete("incomplete_generation_stream"))
        index = finished.index
        num_tokens = self._num_tokens.get(index, 0)
        layout = self._layout
        reason = ended_by(layout.profile, layout.max_new_tokens, finished.reason, finished.stop, num_tokens)
        usage = encode_usage(Usage(self._num_prompt_tokens[index], num_tokens, 0))
        return self._encode(index, piece.text if piece else "", reason, usage=usage)

    def _encode(self, index: int, text: str, reason: str, **more: Any) -> bytes:
        return wire.sse(wire.encode_json({**self._head, "choices": [_choice(index, text, reason)], **more}))


def _choice(index: int, text: str, reason: str) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}
