"""Answers of `POST /v1/completions`.

Source: OpenAI API reference, "The completion object". Chunks of a stream are the same object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    UsageCounter,
)
from portico.core.request import GenerationRequest, TextPrompt
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
from portico.dialects.openai.logprobs import legacy_logprobs

_KIND = "text_completion"
_AFTER_TEXT = b',"logprobs":null,"finish_reason":null'


@dataclass(frozen=True, slots=True)
class CompletionExchange:
    """A completion request and its answer.

    `num_choices` are given per prompt, of the `request.output.num_choices` that are drawn.
    """

    request: GenerationRequest
    envelope: Envelope
    includes_usage: bool
    num_choices: int
    shows_logprobs: bool
    echoes: bool

    def reply(self, result: Result) -> Reply:
        """The completion object."""
        body = self.envelope.fields(_KIND, result.model)
        body["choices"] = [self._choice(index, choice, result) for index, choice in enumerate(self._best(result))]
        body["usage"] = encode_usage(result.usage)
        return Reply(200, wire.encode_json(body))

    def encoder(self) -> CompletionEncoder:
        """An encoder of completion chunks."""
        return CompletionEncoder(self)

    def echo(self, prompt_index: int, tokens: tuple[Token, ...]) -> str:
        """What stands before the output of a prompt's choices; `tokens` are the prompt's, where asked for."""
        if not self.echoes:
            return ""
        prompt = self.request.prompts[prompt_index]
        if self.echoes_tokens or not isinstance(prompt, TextPrompt):
            return "".join(token.text for token in tokens)
        return prompt.text

    @property
    def echoes_tokens(self) -> bool:
        """Whether the echo is made of the prompt's tokens."""
        return self.request.output.prompt_logprobs is not None

    def _best(self, result: Result) -> Iterator[Choice]:
        """The choices of each prompt that are given, best first where more were drawn."""
        num_drawn = self.request.output.num_choices
        for first in range(0, len(result.choices), num_drawn):
            drawn: tuple[Choice, ...] = result.choices[first : first + num_drawn]
            if num_drawn > self.num_choices:
                drawn = tuple(sorted(drawn, key=_mean_logprob, reverse=True))
            yield from drawn[: self.num_choices]

    def _choice(self, index: int, choice: Choice, result: Result) -> dict[str, Any]:
        prompt_index = index // self.num_choices
        prompt_tokens = result.prompts[prompt_index]
        logprobs = None
        if self.shows_logprobs:
            logprobs = _whole_logprobs(self.request, prompt_tokens if self.echoes else (), choice.tokens)
        return {
            "index": index,
            "text": self.echo(prompt_index, prompt_tokens) + choice.text,
            "logprobs": logprobs,
            "finish_reason": finish_reason(choice.reason),
        }


class CompletionEncoder:
    """Chunks with the prompt first if it is echoed, then text, an end per choice, and the usage if it is asked for."""

    media_type = "text/event-stream"
    headers: Mapping[str, str] = STREAM_HEADERS

    def __init__(self, exchange: CompletionExchange) -> None:
        self._exchange = exchange
        self._skips_special = exchange.request.output.skip_special_tokens
        self._usage = UsageCounter() if exchange.includes_usage else None
        self._writer: ChunkWriter | None = None
        self._offsets: dict[int, int] = {}

    def feed(self, event: Event) -> bytes:
        """The chunks of one event."""
        if self._usage is not None:
            self._usage.feed(event)
        match event:
            case Delta():
                return self._text(event.index, event.text, event.tokens, self._skips_special)
            case Finished():
                reason = finish_reason(event.reason).encode()
                return self._chunks.choice(event.index, b'"text":"","logprobs":null,"finish_reason":"' + reason + b'"')
            case Started():
                head = self._exchange.envelope.fields(_KIND, event.model)
                self._writer = ChunkWriter(head, self._usage is not None, b'"text":')
                return b""
            case Prefilled():
                return self._echo(event)

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

    def _echo(self, event: Prefilled) -> bytes:
        """The prompt before each of its choices; they come after it."""
        if not self._exchange.echoes:
            return b""
        text = self._exchange.echo(event.prompt_index, event.tokens)
        first = event.prompt_index * self._exchange.num_choices
        # The echo shows control tokens as they are written.
        return b"".join(
            self._text(index, text, event.tokens, skips_special=False)
            for index in range(first, first + self._exchange.num_choices)
        )

    def _text(self, index: int, text: str, tokens: tuple[Token, ...], skips_special: bool) -> bytes:
        if self._exchange.shows_logprobs and tokens:
            offset = self._offsets.get(index, 0)
            logprobs, self._offsets[index] = legacy_logprobs(tokens, offset, skips_special)
            after = b',"logprobs":' + wire.one_line(wire.encode_json(logprobs)) + b',"finish_reason":null'
            return self._chunks.text(index, text, after)
        return self._chunks.text(index, text, _AFTER_TEXT) if text else b""


def _whole_logprobs(
    request: GenerationRequest, prompt_tokens: tuple[Token, ...], tokens: tuple[Token, ...]
) -> dict[str, Any]:
    """Log-probabilities of the echoed prompt and the output, in one."""
    before, offset = legacy_logprobs(prompt_tokens, 0, skips_special=False)
    after, _ = legacy_logprobs(tokens, offset, request.output.skip_special_tokens)
    return {key: before[key] + after[key] for key in before}


def _mean_logprob(choice: Choice) -> float:
    logprobs = [token.logprob for token in choice.tokens if token.logprob is not None]
    return sum(logprobs) / len(logprobs) if logprobs else float("-inf")
