"""Answers of `POST /v1/chat/completions`.

Source: OpenAI API reference, "The chat completion object" and "The chat completion chunk object".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from portico.core.dialect import Reply
from portico.core.errors import PorticoError
from portico.core.events import Choice, Delta, Event, Finished, Prefilled, Result, Started, UsageCounter
from portico.core.request import GenerationRequest
from portico.dialects import wire
from portico.dialects.openai.encode import (
    DONE,
    STREAM_HEADERS,
    ChunkWriter,
    Envelope,
    encode_usage,
    finish_reason,
)
from portico.dialects.openai.errors import encode_error
from portico.dialects.openai.logprobs import chat_logprobs

_AFTER_TEXT = b'},"logprobs":null,"finish_reason":null'


@dataclass(frozen=True, slots=True)
class ChatExchange:
    """A chat request and its answer."""

    request: GenerationRequest
    envelope: Envelope
    includes_usage: bool

    def reply(self, result: Result) -> Reply:
        """The chat completion object."""
        body = self.envelope.fields("chat.completion", result.model)
        body["choices"] = [self._choice(choice) for choice in result.choices]
        body["usage"] = encode_usage(result.usage)
        return Reply(200, wire.encode_json(body))

    def encoder(self) -> ChatEncoder:
        """An encoder of chat completion chunks."""
        return ChatEncoder(self.request, self.envelope, self.includes_usage)

    def _choice(self, choice: Choice) -> dict[str, Any]:
        return {
            "index": choice.index,
            "message": {"role": "assistant", "content": choice.text, "refusal": None},
            "logprobs": None if self.request.output.logprobs is None else chat_logprobs(choice.tokens),
            "finish_reason": finish_reason(choice.reason),
        }


class ChatEncoder:
    """Chunks with the role of every choice first, then text, an end per choice, and the usage if it is asked for."""

    media_type = "text/event-stream"
    headers: Mapping[str, str] = STREAM_HEADERS

    def __init__(self, request: GenerationRequest, envelope: Envelope, includes_usage: bool) -> None:
        self._num_choices = request.num_choices
        self._shows_logprobs = request.output.logprobs is not None
        self._envelope = envelope
        self._usage = UsageCounter() if includes_usage else None
        self._writer: ChunkWriter | None = None

    def feed(self, event: Event) -> bytes:
        """The chunks of one event."""
        if self._usage is not None:
            self._usage.feed(event)
        match event:
            case Delta():
                return self._delta(event)
            case Finished():
                reason = finish_reason(event.reason).encode()
                rest = b'"delta":{},"logprobs":null,"finish_reason":"' + reason + b'"'
                return self._chunks.choice(event.index, rest)
            case Started():
                return self._roles(event)
            case Prefilled():
                return b""

    def close(self) -> bytes:
        """The usage, if it is asked for, and the end of the stream."""
        if self._usage is None:
            return DONE
        return self._chunks.usage(self._usage.usage()) + DONE

    def fail(self, error: PorticoError) -> bytes:
        """The error object and the end of the stream."""
        return wire.sse(wire.one_line(encode_error(error))) + DONE

    @property
    def _chunks(self) -> ChunkWriter:
        assert self._writer is not None, "events begin with Started"
        return self._writer

    def _roles(self, event: Started) -> bytes:
        """One chunk per choice, in order: the official client expects new indexes to appear so."""
        head = self._envelope.fields("chat.completion.chunk", event.model)
        self._writer = ChunkWriter(head, self._usage is not None, b'"delta":{"content":')
        rest = b'"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null'
        return b"".join(self._writer.choice(index, rest) for index in range(self._num_choices))

    def _delta(self, event: Delta) -> bytes:
        if self._shows_logprobs and event.tokens:
            logprobs = wire.one_line(wire.encode_json(chat_logprobs(event.tokens)))
            after = b'},"logprobs":' + logprobs + b',"finish_reason":null'
            return self._chunks.text(event.index, event.text, after)
        return self._chunks.text(event.index, event.text, _AFTER_TEXT) if event.text else b""
