"""Answers of `POST /v1/chat/completions`.

Source: OpenAI API reference, "The chat completion object" and "The chat completion chunk object".
"""

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
    Prefilled,
    Result,
    Started,
    Token,
    ToolCall,
    UsageCounter,
)
from portico.core.request import GenerationRequest
from portico.dialects import wire
from portico.dialects.openai.encode import (
    DONE,
    KEEP_ALIVE,
    STREAM_HEADERS,
    ChunkWriter,
    Envelope,
    Layout,
    encode_call,
    encode_end,
    encode_usage,
    finish_reason,
)
from portico.dialects.openai.errors import encode_error
from portico.dialects.openai.logprobs import chat_logprobs, prompt_logprobs

_AFTER_TEXT = b'},"logprobs":null,"finish_reason":null'


@dataclass(frozen=True, slots=True)
class ChatExchange:
    """A chat request and its answer.

    `echo` stands before the text of every choice. A choice that ends with calls has that as its reason to finish,
    except where the request named the call (`tells_calls_in_reason`).
    """

    request: GenerationRequest
    envelope: Envelope
    layout: Layout
    echo: str
    shows_reasoning: bool
    tells_calls_in_reason: bool

    def reply(self, result: Result) -> Reply:
        """The chat completion object."""
        body = self.envelope.fields("chat.completion", result.model)
        body["choices"] = [self._choice(choice) for choice in result.choices]
        body["usage"] = encode_usage(result.usage)
        (prompt,) = result.prompts
        if self.layout.prompt_logprobs is not None:
            body["prompt_logprobs"] = prompt_logprobs(prompt, self.layout.prompt_logprobs)
        if self.layout.shows_token_ids:
            body["prompt_token_ids"] = [token.id for token in prompt]
        if self.layout.shows_prompt_text:
            body["prompt_text"] = _prompt_text(prompt)
        return Reply(200, wire.encode_json(body))

    def encoder(self) -> ChatEncoder:
        """An encoder of chat completion chunks."""
        return ChatEncoder(self)

    def _choice(self, choice: Choice) -> dict[str, Any]:
        logprobs = None
        if self.request.output.logprobs is not None:
            logprobs = chat_logprobs(choice.tokens, self.layout.names_tokens_by_id)
        fields = {
            "index": choice.index,
            "message": self._message(choice),
            "logprobs": logprobs,
            "finish_reason": finish_reason(choice.reason, bool(choice.calls) and self.tells_calls_in_reason),
            "stop_reason": choice.stop,
        }
        if self.layout.shows_token_ids:
            fields["token_ids"] = choice.token_ids
        return fields

    def _message(self, choice: Choice) -> dict[str, Any]:
        """The message; a call without any text has no content, and `reasoning` is what open servers add."""
        text = self.echo + choice.text
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if choice.calls:
            message["content"] = text or None
            message["tool_calls"] = [encode_call(call) for call in choice.calls]
        if choice.reasoning and self.shows_reasoning:
            message["reasoning"] = choice.reasoning
        return message


class ChatEncoder:
    """Chunks: the role of every choice first, then its parts, an end per choice, and the usage if it is asked for."""

    media_type = "text/event-stream"
    keep_alive = KEEP_ALIVE
    headers: Mapping[str, str] = STREAM_HEADERS

    def __init__(self, exchange: ChatExchange) -> None:
        self._num_choices = exchange.request.num_choices
        self._shows_logprobs = exchange.request.output.logprobs is not None
        self._envelope = exchange.envelope
        self._layout = exchange.layout
        self._echo = exchange.echo
        self._shows_reasoning = exchange.shows_reasoning
        self._waits_for_prompt = exchange.layout.shows_token_ids or exchange.layout.shows_prompt_text
        self._tells_calls_in_reason = exchange.tells_calls_in_reason
        self._num_calls: dict[int, int] = {}
        self._usage = UsageCounter() if exchange.layout.includes_usage else None
        self._writer: ChunkWriter | None = None
        self._has_plain_text = not self._shows_logprobs and not self._layout.shows_token_ids

    def feed(self, events: Sequence[Event]) -> bytes:
        """The chunks of each event."""
        return b"".join(map(self._feed, events)) if len(events) > 1 else self._feed(events[0])

    def close(self) -> bytes:
        """The usage, if it is asked for, and the end of the stream."""
        if self._usage is None:
            return DONE
        return self._chunks.usage(self._usage.usage()) + DONE

    def fail(self, error: PorticoError) -> bytes:
        """The error object and the end of the stream."""
        return wire.sse(wire.one_line(encode_error(error))) + DONE

    def _feed(self, event: Event) -> bytes:
        if isinstance(event, Started):
            head = self._envelope.fields("chat.completion.chunk", event.model)
            self._writer = ChunkWriter(head, self._layout, b'"delta":{"content":', _AFTER_TEXT)
        if self._usage is not None:
            self._usage.feed(event)
            if self._layout.repeats_usage:
                self._chunks.count(self._usage.usage())
        if isinstance(event, Delta) and event.apart is None and self._has_plain_text and self._writer is not None:
            return self._writer.text(event.index, event.text) if event.text else b""
        match event:
            case Delta():
                return self._delta(event)
            case Finished():
                has_calls = self._tells_calls_in_reason and event.index in self._num_calls
                rest = b'"delta":{},"logprobs":null,' + encode_end(event, has_calls)
                return self._chunks.choice(event.index, rest)
            case Started():
                return b"" if self._waits_for_prompt else self._begin(b"")
            case Prefilled():
                return self._begin(self._prompt(event)) if self._waits_for_prompt else b""

    @property
    def _chunks(self) -> ChunkWriter:
        assert self._writer is not None, "events begin with Started"
        return self._writer

    def _begin(self, prompt: bytes) -> bytes:
        """One chunk per choice, in order: the official client expects new indexes to appear so."""
        rest = b'"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null'
        roles = b"".join(self._chunks.choice(index, rest, prompt) for index in range(self._num_choices))
        if not self._echo:
            return roles
        return roles + b"".join(self._chunks.text(index, self._echo) for index in range(self._num_choices))

    def _prompt(self, event: Prefilled) -> bytes:
        """What the first chunk of a choice has of the prompt."""
        fields: dict[str, Any] = {}
        if self._layout.shows_token_ids:
            fields["prompt_token_ids"] = [token.id for token in event.tokens]
        if self._layout.shows_prompt_text:
            fields["prompt_text"] = _prompt_text(event.tokens)
        return b"," + wire.one_line(wire.encode_json(fields))[1:-1]

    def _delta(self, event: Delta) -> bytes:
        if event.apart is None:
            return self._text(event)
        shown = event.apart.reasoning and self._shows_reasoning
        before = self._piece(event.index, {"reasoning": event.apart.reasoning}) if shown else b""
        return before + self._text(event) + self._calls(event.index, event.apart.calls)

    def _calls(self, index: int, calls: Sequence[ToolCall]) -> bytes:
        """One chunk per call, or piece of it."""
        return b"".join(self._piece(index, {"tool_calls": [self._call(index, call)]}) for call in calls)

    def _call(self, index: int, call: ToolCall) -> dict[str, Any]:
        """Its beginning has the name; all pieces have its place among the calls."""
        number = self._num_calls.get(index, 0) - 1
        if not call.is_first:
            return {"index": number, "function": {"arguments": call.arguments}}
        self._num_calls[index] = number + 2
        return {"index": number + 1, **encode_call(call)}

    def _piece(self, index: int, delta: Mapping[str, Any]) -> bytes:
        encoded = wire.one_line(wire.encode_json(delta))
        return self._chunks.choice(index, b'"delta":' + encoded + b',"logprobs":null,"finish_reason":null')

    def _text(self, event: Delta) -> bytes:
        has_logprobs = self._shows_logprobs and event.tokens
        has_ids = self._layout.shows_token_ids and event.token_ids
        if not has_logprobs and not has_ids:
            return self._chunks.text(event.index, event.text) if event.text else b""
        after = _AFTER_TEXT
        if has_logprobs:
            logprobs = chat_logprobs(event.tokens, self._layout.names_tokens_by_id)
            after = b'},"logprobs":' + wire.one_line(wire.encode_json(logprobs)) + b',"finish_reason":null'
        if has_ids:
            after += b',"token_ids":' + wire.encode_json(event.token_ids)
        return self._chunks.text_with(event.index, event.text, after)


def _prompt_text(tokens: Sequence[Token]) -> str:
    return "".join(token.text for token in tokens)
