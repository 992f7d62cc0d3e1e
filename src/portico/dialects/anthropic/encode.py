"""Answers of `POST /v1/messages`: a message of content blocks, whole or as named events.

Source: Anthropic API reference, "The Message object" and "Streaming messages".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portico.core.dialect import Reply
from portico.core.errors import PorticoError
from portico.core.events import (
    Delta,
    Event,
    Finished,
    FinishReason,
    Prefilled,
    Result,
    Started,
    ToolCall,
    Usage,
    UsageCounter,
)
from portico.core.request import GenerationRequest
from portico.dialects import wire
from portico.dialects.anthropic.errors import encode_error
from portico.dialects.anthropic.whole_json import whole_json

_THINKING: Mapping[str, str] = {"type": "thinking", "thinking": "", "signature": ""}
_TEXT: Mapping[str, str] = {"type": "text", "text": ""}
_THINKING_KEY = b'"delta":{"type":"thinking_delta","thinking":'
_TEXT_KEY = b'"delta":{"type":"text_delta","text":'
_INPUT_KEY = b'"delta":{"type":"input_json_delta","partial_json":'


@dataclass(frozen=True, slots=True)
class MessageExchange:
    """A request and its answer, the message of that id; thinking may be left out of it."""

    request: GenerationRequest
    message_id: str
    shows_thinking: bool

    def reply(self, result: Result) -> Reply:
        """The message."""
        (choice,) = result.choices
        content: list[Mapping[str, Any]] = []
        if choice.reasoning and self.shows_thinking:
            content.append({**_THINKING, "thinking": choice.reasoning})
        if choice.text:
            content.append({**_TEXT, "text": choice.text})
        content += [{**_call(call), "input": wire.raw_json(whole_json(call.arguments))} for call in choice.calls]
        body = self.message(result.model, content, result.usage)
        reason = self.stop_reason(choice.reason, choice.stop, bool(choice.calls), result.usage)
        body |= {"stop_reason": reason, "stop_sequence": _stop_sequence(choice.stop)}
        return Reply(200, wire.encode_json(body), headers=self.headers())

    def encoder(self) -> MessageEncoder:
        """An encoder of events."""
        return MessageEncoder(self)

    def headers(self) -> dict[str, str]:
        """Clients show this id."""
        return {"request-id": self.request.request_id}

    def message(self, model: str, content: list[Mapping[str, Any]], usage: Usage) -> dict[str, Any]:
        """The message, without an end."""
        return {
            "id": self.message_id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": encode_usage(usage),
        }

    def stop_reason(self, reason: FinishReason, stop: str | int | None, has_calls: bool, usage: Usage) -> str:
        """The reason in this API's words; an answer that was broken off is a cut one at least."""
        if reason is FinishReason.STOP:
            if has_calls:
                return "tool_use"
            return "end_turn" if _stop_sequence(stop) is None else "stop_sequence"
        limit = self.request.stopping.max_tokens
        is_context = reason is FinishReason.LENGTH and limit is not None and usage.num_output_tokens < limit
        return "model_context_window_exceeded" if is_context else "max_tokens"


class MessageEncoder:
    """The message's start with the counts of its prompt, then blocks one after another, then its end."""

    media_type = "text/event-stream"
    keep_alive = b'event: ping\ndata: {"type":"ping"}\n\n'

    def __init__(self, exchange: MessageExchange) -> None:
        self._exchange = exchange
        self.headers: Mapping[str, str] = {
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
            **exchange.headers(),
        }
        self._model = ""
        self._usage = UsageCounter()
        self._num_blocks = 0
        self._open_type = ""
        self._has_calls = False
        self._delta_head = b""

    def feed(self, events: Sequence[Event]) -> bytes:
        """The frames of each event."""
        return b"".join(map(self._feed, events))

    def close(self) -> bytes:
        """The end of the stream."""
        return _frame("message_stop", {})

    def fail(self, error: PorticoError) -> bytes:
        """The error object."""
        return b"event: error\ndata: " + wire.one_line(encode_error(error)) + b"\n\n"

    def _feed(self, event: Event) -> bytes:
        self._usage.feed(event)
        match event:
            case Started():
                self._model = event.model
                return b""
            case Prefilled():
                # Only now is it known how much of the prompt was cached, which is counted apart.
                message = self._exchange.message(self._model, [], self._usage.usage())
                return _frame("message_start", {"message": message})
            case Delta():
                return self._delta(event)
            case Finished():
                return self._stop_block() + self._end(event)

    def _delta(self, event: Delta) -> bytes:
        frames = b""
        apart = event.apart
        if apart is not None and apart.reasoning and self._exchange.shows_thinking:
            frames += self._open("thinking", _THINKING, _THINKING_KEY) + self._piece(apart.reasoning)
        if event.text:
            frames += self._open("text", _TEXT, _TEXT_KEY) + self._piece(event.text)
        return frames + b"".join(self._call(call) for call in (() if apart is None else apart.calls))

    def _call(self, call: ToolCall) -> bytes:
        frames = b""
        if call.is_first:
            self._has_calls = True
            frames += self._stop_block() + self._open("tool_use", {**_call(call), "input": {}}, _INPUT_KEY)
        if call.arguments:
            frames += self._piece(call.arguments)
        return frames + self._stop_block() if call.is_last else frames

    def _open(self, block_type: str, block: Mapping[str, Any], delta_key: bytes) -> bytes:
        """Begins a block, unless one of this type goes on."""
        if self._open_type == block_type:
            return b""
        frames = self._stop_block()
        index = self._num_blocks
        self._num_blocks += 1
        self._open_type = block_type
        # The frame of a piece is written once per token: everything around its text is ready.
        head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":'
        self._delta_head = head + str(index).encode() + b"," + delta_key
        return frames + _frame("content_block_start", {"index": index, "content_block": block})

    def _piece(self, text: str) -> bytes:
        return self._delta_head + wire.one_line(wire.encode_json(text)) + b"}}\n\n"

    def _stop_block(self) -> bytes:
        if not self._open_type:
            return b""
        self._open_type = ""
        return _frame("content_block_stop", {"index": self._num_blocks - 1})

    def _end(self, event: Finished) -> bytes:
        usage = self._usage.usage()
        reason = self._exchange.stop_reason(event.reason, event.stop, self._has_calls, usage)
        delta = {"stop_reason": reason, "stop_sequence": _stop_sequence(event.stop)}
        return _frame("message_delta", {"delta": delta, "usage": encode_usage(usage)})


def encode_usage(usage: Usage) -> dict[str, Any]:
    """Token counts; those of the prompt that were cached are not among the others."""
    counts: dict[str, Any] = {
        "input_tokens": usage.num_prompt_tokens - usage.num_cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.num_cached_tokens,
        "output_tokens": usage.num_output_tokens,
    }
    if usage.num_reasoning_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": usage.num_reasoning_tokens}
    return counts


def _call(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name}


def _stop_sequence(stop: str | int | None) -> str | None:
    return stop if isinstance(stop, str) else None


def _frame(name: str, fields: Mapping[str, Any]) -> bytes:
    payload = wire.one_line(wire.encode_json({"type": name, **fields}))
    return b"event: " + name.encode() + b"\ndata: " + payload + b"\n\n"
