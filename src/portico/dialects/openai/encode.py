"""What the answers of both generating routes have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from portico.core.events import Finished, FinishReason, ToolCall, Usage
from portico.dialects import wire

# Proxies that buffer or cache would hold back what is streamed.
STREAM_HEADERS: Mapping[str, str] = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
DONE = wire.sse(b"[DONE]")
# A comment, which readers of events skip: a long prompt is evaluated without anything to say.
KEEP_ALIVE = b": keep-alive\n\n"
_FINISH_REASONS = {FinishReason.STOP: "stop", FinishReason.LENGTH: "length", FinishReason.ABORT: "length"}


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is the same in every chunk of an answer.

    `created` is Unix time; `service_tier` is the one that answers, told to who asks for one.
    """

    id: str
    created: int
    service_tier: str | None = None

    def fields(self, kind: str, model: str) -> dict[str, Any]:
        """The head of an answer or a chunk."""
        tier = {} if self.service_tier is None else {"service_tier": self.service_tier}
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": model,
            "system_fingerprint": _fingerprint(model),
            **tier,
        }


@dataclass(frozen=True, slots=True)
class Layout:
    """What an answer has beside its usual fields.

    Attributes:
        includes_usage: a stream ends with a chunk of token counts.
        repeats_usage: every chunk has the counts so far.
        shows_token_ids: the ids of prompt and output are given.
        shows_prompt_text: what the chat template wrote is given.
        names_tokens_by_id: log-probabilities name a token `token_id:7` instead of by its text.
        prompt_logprobs: the most likely tokens per place of the prompt that are given; None is none at all.
    """

    includes_usage: bool
    repeats_usage: bool
    shows_token_ids: bool
    names_tokens_by_id: bool
    prompt_logprobs: int | None
    shows_prompt_text: bool = False


def finish_reason(reason: FinishReason, has_calls: bool = False) -> str:
    """The reason in this API's words; it has none for a choice that was broken off, which is a cut one at least."""
    return "tool_calls" if has_calls and reason is FinishReason.STOP else _FINISH_REASONS[reason]


def encode_call(call: ToolCall) -> dict[str, Any]:
    """A call of a tool."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def encode_end(event: Finished, has_calls: bool = False) -> bytes:
    """The last fields of a choice in its last chunk; `stop_reason` is what open servers add."""
    reason = finish_reason(event.reason, has_calls).encode()
    stop = wire.one_line(wire.encode_json(event.stop))
    return b'"finish_reason":"' + reason + b'","stop_reason":' + stop


def encode_usage(usage: Usage) -> dict[str, Any]:
    """Token counts; details of the output are there where it has reasoning."""
    counts: dict[str, Any] = {
        "prompt_tokens": usage.num_prompt_tokens,
        "completion_tokens": usage.num_output_tokens,
        "total_tokens": usage.num_prompt_tokens + usage.num_output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.num_cached_tokens},
    }
    if usage.num_reasoning_tokens:
        counts["completion_tokens_details"] = {"reasoning_tokens": usage.num_reasoning_tokens}
    return counts


def _fingerprint(model: str) -> str:
    return "fp_" + hashlib.blake2s(model.encode(), digest_size=5).hexdigest()


class ChunkWriter:
    """Writes the chunks of one streamed answer.

    A chunk of text is bytes prepared once, with the escaped text between them: it is written for every token.
    `text_key` stands before the text in its choice, `after_text` behind it where there is nothing else to say.
    """

    def __init__(self, head: Mapping[str, Any], layout: Layout, text_key: bytes, after_text: bytes) -> None:
        encoded = wire.encode_json(head)[:-1]
        self._head = b"data: " + encoded + b',"choices":[{"index":'
        self._usage_head = b"data: " + encoded + b',"choices":[],"usage":'
        # With usage asked for, every chunk before the last has it as null.
        self._end = b',"usage":null}\n\n' if layout.includes_usage else b"}\n\n"
        self._tail = b"}]" + self._end
        self._text_key = text_key
        self._after_text = after_text
        self._text_tail = after_text + self._tail
        self._text_heads: dict[int, bytes] = {}

    def text(self, index: int, text: str) -> bytes:
        """A chunk with text and nothing else: what most chunks are."""
        head = self._text_heads.get(index)
        return (head or self._text_head(index)) + wire.encode_text(text) + self._text_tail

    def text_with(self, index: int, text: str, after: bytes) -> bytes:
        """A chunk with text, and `after` behind the text in its choice."""
        return self._text_head(index) + wire.encode_text(text) + after + self._tail

    def choice(self, index: int, rest: bytes, after: bytes = b"") -> bytes:
        """A chunk whose choice is written by the caller, after its index; `after` follows the choices."""
        return self._head + str(index).encode() + b"," + rest + b"}]" + after + self._end

    def count(self, usage: Usage) -> None:
        """Takes the counts that the next chunks have, where every chunk has them."""
        self._end = b',"usage":' + wire.encode_json(encode_usage(usage)) + b"}\n\n"
        self._tail = b"}]" + self._end
        self._text_tail = self._after_text + self._tail

    def usage(self, usage: Usage) -> bytes:
        """The chunk of counts, without a choice."""
        return self._usage_head + wire.encode_json(encode_usage(usage)) + b"}\n\n"

    def _text_head(self, index: int) -> bytes:
        head = self._text_heads.get(index)
        if head is None:
            head = self._text_heads[index] = self._head + str(index).encode() + b"," + self._text_key
        return head
