"""Answers of `POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portico.core.dialect import Reply
from portico.core.errors import PorticoError
from portico.core.events import (
    Choice,
    Delta,
    Event,
    Finished,
    FinishReason,
    Result,
    Started,
    Token,
    ToolCall,
    UsageCounter,
)
from portico.core.request import GenerationRequest
from portico.dialects import wire
from portico.dialects.tgi import errors
from portico.dialects.tgi.layout import top_tokens
from portico.dialects.tgi.v1.layout import Layout, encode_usage


@dataclass(frozen=True, slots=True)
class ChatExchange:
    """A chat and its answer; `first_call` is the number of its first call of a tool, None where ids are no numbers."""

    request: GenerationRequest
    layout: Layout
    includes_usage: bool
    first_call: int | None

    def reply(self, result: Result) -> Reply:
        """The whole answer; 500 when it was broken off."""
        (choice,) = result.choices
        if choice.reason is FinishReason.ABORT:
            return Reply(500, errors.incomplete("incomplete_generation"))
        body = self.layout.head("chat.completion", result.model)
        body["choices"] = [
            {
                "index": 0,
                "message": self._message(choice),
                "logprobs": self.logprobs(choice.tokens),
                "finish_reason": self.layout.finish_reason(choice.reason, choice.stop, len(choice.token_ids)),
            }
        ]
        body["usage"] = encode_usage(result.usage)
        return Reply(200, wire.encode_json(body))

    def encoder(self) -> ChatStream:
        """A stream of chunks."""
        return ChatStream(self)

    def logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        """The tokens with their rivals, where they are asked for."""
        count = self.request.output.logprobs
        if count is None:
            return None
        return {"content": [_describe_token(token, count) for token in tokens]}

    def encode_call(self, call: ToolCall, position: int) -> dict[str, Any]:
        """A call, or a piece of one that has begun, which has no name; arguments are JSON in a string."""
        id = call.id if self.first_call is None else str(self.first_call + position)
        name = call.name if call.is_first else None
        function = {"description": None, "name": name, "arguments": call.arguments}
        return {"id": id, "type": "function", "function": function}

    def _message(self, choice: Choice) -> dict[str, Any]:
        if not choice.calls:
            return {"role": "assistant", "content": choice.text}
        calls = [self.encode_call(call, position) for position, call in enumerate(choice.calls)]
        return {"role": "assistant", "content": choice.text or None, "tool_calls": calls}


class ChatStream:
    """A chunk per token, each with the role; the last one has the reason, and the usage follows if it is asked for."""

    media_type = "text/event-stream"
    keep_alive = b":\n\n"

    def __init__(self, exchange: ChatExchange) -> None:
        self.headers: Mapping[str, str] = {"x-compute-type": exchange.layout.profile.compute_type}
        self._exchange = exchange
        self._usage = UsageCounter()
        self._num_calls = 0
        self._head: dict[str, Any] = {}

    def feed(self, events: Sequence[Event]) -> bytes:
        """The chunks of what has come."""
        deltas: list[Delta] = []
        finished: Finished | None = None
        for event in events:
            self._usage.feed(event)
            match event:
                case Started():
                    self._head = self._exchange.layout.head("chat.completion.chunk", event.model)
                case Delta():
                    deltas.append(event)
                case Finished():
                    finished = event
        if finished is None:
            return b"".join(map(self._chunk, deltas))
        if finished.reason is FinishReason.ABORT:
            return b"".join(map(self._chunk, deltas)) + wire.sse(errors.incomplete("incomplete_generation_stream"))
        return self._finish(deltas, finished)

    def close(self) -> bytes:
        """The usage, if it is asked for, and the end of the stream."""
        if not self._exchange.includes_usage:
            return errors.DONE
        chunk = {**self._head, "choices": [], "usage": encode_usage(self._usage.usage())}
        return wire.sse(wire.encode_json(chunk)) + errors.DONE

    def fail(self, error: PorticoError) -> bytes:
        """The error as a chunk, and the end of the stream."""
        return wire.sse(errors.encode_chunk(error)) + errors.DONE

    def _finish(self, deltas: Sequence[Delta], finished: Finished) -> bytes:
        num_tokens = self._usage.usage().num_output_tokens
        reason = self._exchange.layout.finish_reason(finished.reason, finished.stop, num_tokens)
        last = deltas[-1] if deltas else Delta(0, "", (), ())
        return b"".join(map(self._chunk, deltas[:-1])) + self._chunk(last, reason)

    def _chunk(self, piece: Delta, reason: str | None = None) -> bytes:
        """A chunk, and one before it for the calls that came with it."""
        calls = () if piece.apart is None else piece.apart.calls
        chunks = b""
        if calls:
            described = []
            for call in calls:
                self._num_calls += call.is_first
                position = self._num_calls - 1
                described.append({"index": position, **self._exchange.encode_call(call, position)})
            chunks = self._encode({"role": "assistant", "tool_calls": described}, None, None)
        delta = {"role": "assistant", "content": piece.text}
        return chunks + self._encode(delta, self._exchange.logprobs(piece.tokens), reason)

    def _encode(self, delta: dict[str, Any], logprobs: dict[str, Any] | None, reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return wire.sse(wire.encode_json({**self._head, "choices": [choice], "usage": None}))


def _describe_token(token: Token, count: int) -> dict[str, Any]:
    rivals = [{"token": each.text, "logprob": each.logprob} for each in top_tokens(token, count)] if count else []
    return {"token": token.text, "logprob": token.logprob, "top_logprobs": rivals}
