"""Answers of `POST /v1/responses`, whole or as numbered events.

Source: OpenAI API reference, "The response object" and "Streaming events".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    TextTokens,
    Usage,
    UsageCounter,
)
from portico.core.request import GenerationRequest
from portico.dialects import wire
from portico.dialects.openai.encode import KEEP_ALIVE, STREAM_HEADERS
from portico.dialects.openai.errors import error_fields
from portico.dialects.openai.logprobs import response_logprobs
from portico.dialects.openai.responses.items import Fields, Output


@dataclass(frozen=True, slots=True)
class Head:
    """What is the same in every form of an answer; `created_at` is Unix time, `settings` are the request's."""

    request_id: str
    created_at: int
    settings: Mapping[str, Any]

    def response(self, model: str, status: str, output: list[Fields], **fields: Any) -> Fields:
        """The response object."""
        return {
            "id": f"resp_{self.request_id}",
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": model,
            "output": output,
            "usage": None,
            **self.settings,
            **fields,
        }

    def end(self, model: str, reason: FinishReason, output: list[Fields], usage: Usage) -> Fields:
        """The response object of an answer that has ended; one that was cut is incomplete."""
        fields: Fields = {"usage": _encode_usage(usage)}
        if reason is not FinishReason.STOP:
            fields["incomplete_details"] = {"reason": "max_output_tokens"}
        return self.response(model, response_status(reason), output, **fields)


@dataclass(frozen=True, slots=True)
class ResponseExchange:
    """A request and its answer; without `shows_reasoning` it has none, whatever the model reasons."""

    request: GenerationRequest
    head: Head
    shows_reasoning: bool

    def reply(self, result: Result) -> Reply:
        """The response object: reasoning, text, and calls."""
        (choice,) = result.choices
        output = Output(self.head.request_id)
        told: list[Iterable[Fields]] = [
            output.reason(choice.reasoning) if choice.reasoning and self.shows_reasoning else (),
            output.write(choice.text, response_logprobs(choice.text_tokens)) if choice.text else (),
            *(output.call(call) for call in choice.calls),
            output.close(response_status(choice.reason)),
        ]
        for events in told:
            for _ in events:
                pass
        body = self.head.end(result.model, choice.reason, output.items, result.usage)
        return Reply(200, wire.encode_json(body))

    def encoder(self) -> ResponseEncoder:
        """An encoder of events."""
        return ResponseEncoder(self.head, self.shows_reasoning)


class ResponseEncoder:
    """The response's start, the events of its items, and its end."""

    media_type = "text/event-stream"
    keep_alive = KEEP_ALIVE
    headers: Mapping[str, str] = STREAM_HEADERS

    def __init__(self, head: Head, shows_reasoning: bool) -> None:
        self._head = head
        self._shows_reasoning = shows_reasoning
        self._text_tokens = TextTokens()
        self._model = ""
        self._output = Output(head.request_id)
        self._usage = UsageCounter()
        self._reason = FinishReason.ABORT
        self._num_events = 0

    def feed(self, events: Sequence[Event]) -> bytes:
        """The frames of each event."""
        return b"".join(self._frame(fields) for event in events for fields in self._feed(event))

    def close(self) -> bytes:
        """The whole answer."""
        response = self._head.end(self._model, self._reason, self._output.items, self._usage.usage())
        return self._frame({"type": f"response.{response['status']}", "response": response})

    def fail(self, error: PorticoError) -> bytes:
        """The error, and the end of an answer that failed."""
        for _ in self._output.close("incomplete"):
            pass
        told = error_fields(error)
        event = {"type": "error", "code": told["code"], "message": told["message"], "param": told["param"]}
        reason = {"code": "server_error", "message": told["message"]}
        response = self._head.response(self._model, "failed", self._output.items, error=reason)
        return self._frame(event) + self._frame({"type": "response.failed", "response": response})

    def _feed(self, event: Event) -> Iterable[Fields]:
        self._usage.feed(event)
        match event:
            case Started():
                self._model = event.model
                response = self._head.response(event.model, "in_progress", [])
                yield {"type": "response.created", "response": response}
                yield {"type": "response.in_progress", "response": response}
            case Prefilled():
                return
            case Delta():
                if event.apart is not None and event.apart.reasoning and self._shows_reasoning:
                    yield from self._output.reason(event.apart.reasoning)
                logprobs = response_logprobs(self._text_tokens.feed(event))
                if event.text:
                    yield from self._output.write(event.text, logprobs)
                for call in () if event.apart is None else event.apart.calls:
                    yield from self._output.call(call)
            case Finished():
                self._reason = event.reason
                if (rest := self._text_tokens.rest()) and self._output.is_writing:
                    yield from self._output.write("", response_logprobs(rest))
                yield from self._output.close(response_status(event.reason))

    def _frame(self, fields: Fields) -> bytes:
        payload = wire.one_line(wire.encode_json({**fields, "sequence_number": self._num_events}))
        self._num_events += 1
        return b"event: " + str(fields["type"]).encode() + b"\n" + wire.sse(payload)


def response_status(reason: FinishReason) -> str:
    """The status of an answer, or of its last item, that ended so."""
    return "completed" if reason is FinishReason.STOP else "incomplete"


def _encode_usage(usage: Usage) -> Fields:
    return {
        "input_tokens": usage.num_prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.num_cached_tokens},
        "output_tokens": usage.num_output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.num_reasoning_tokens},
        "total_tokens": usage.num_prompt_tokens + usage.num_output_tokens,
    }
