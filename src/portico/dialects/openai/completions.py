"""Answers of `POST /v1/completions`.

Source: OpenAI API reference, "The completion object". Chunks of a stream are the same object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    KEEP_ALIVE,
    STREAM_HEADERS,
    ChunkWriter,
    Envelope,
    Layout,
    encode_end,
    encode_usage,
    finish_reason,
)
from portico.dialects.openai.errors import encode_error
from portico.dialects.openai.logprobs import legacy_logprobs, prompt_logprobs

_KIND = "text_completion"
_AFTER_TEXT = b',"logprobs":null,"finish_reason":null'


@dataclass(frozen=True, slots=True)
class CompletionExchange:
    """A completion request and its answer.

    `num_choices` are given per prompt, of the `request.output.num_choices` that are drawn.
    """

    request: GenerationRequest
    envelope: Envelope
    layout: Layout
    num_choices: int
    logprobs: int | None
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
        return self.request.output.prompt_details

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
        fields = {
            "index": index,
            "text": self.echo(prompt_index, prompt_tokens) + choice.text,
            "logprobs": self._logprobs(prompt_tokens if self.echoes else (), choice.tokens),
            "finish_reason": finish_reason(choice.reason),
            "stop_reason": choice.stop,
        }
        if self.layout.prompt_logprobs is not None:
            fields["prompt_logprobs"] = prompt_logprobs(prompt_tokens, self.layout.prompt_logprobs)
        if self.layout.shows_token_ids:
            fields["prompt_token_ids"] = [token.id for token in prompt_tokens]
            fields["token_ids"] = choice.token_ids
        return fields

    def describe(self, tokens: tuple[Token, ...], offset: int, *, skips_special: bool) -> tuple[dict[str, Any], int]:
        """Log-probabilities of tokens that stand at an offset of a choice's text, and the offset after them."""
        return legacy_logprobs(
            tokens,
            offset,
            skips_special=skips_special,
            num_best=self.logprobs or 0,
            by_id=self.layout.names_tokens_by_id,
        )

    def _logprobs(self, prompt_tokens: tuple[Token, ...], tokens: tuple[Token, ...]) -> dict[str, Any] | None:
        """Those of the echoed prompt and of the output, in one."""
        if self.logprobs is None:
            return None
        # The echo shows control tokens as they are written.
        before, offset = self.describe(prompt_tokens, 0, skips_special=False)
        after, _ = self.describe(tokens, offset, skips_special=self.request.output.skip_special_tokens)
        return {key: before[key] + after[key] for key in before}


class CompletionEncoder:
    """Chunks with the prompt first if it is echoed, then text, an end per choice, and the usage if it is asked for."""

    media_type = "text/event-stream"
    keep_alive = KEEP_ALIVE
    headers: Mapping[str, str] = STREAM_HEADERS

    def __init__(self, exchange: CompletionExchange) -> None:
        self._exchange = exchange
        self._skips_special = exchange.request.output.skip_special_tokens
        self._layout = exchange.layout
        self._usage = UsageCounter() if exchange.layout.includes_usage else None
        self._writer: ChunkWriter | None = None
        self._offsets: dict[int, int] = {}
        self._has_plain_text = exchange.logprobs is None and not self._layout.shows_token_ids

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
            self._writer = ChunkWriter(
                self._exchange.envelope.fields(_KIND, event.model), self._layout, b'"text":', _AFTER_TEXT
            )
        if self._usage is not None:
            self._usage.feed(event)
            if self._layout.repeats_usage:
                self._chunks.count(self._usage.usage())
        if isinstance(event, Delta) and self._has_plain_text and self._writer is not None:
            return self._writer.text(event.index, event.text) if event.text else b""
        match event:
            case Delta():
                ids = b""
                if self._layout.shows_token_ids and event.token_ids:
                    ids = b',"token_ids":' + wire.encode_json(event.token_ids)
                return self._text(event.index, event.text, event.tokens, self._skips_special, ids)
            case Finished():
                return self._chunks.choice(event.index, b'"text":"","logprobs":null,' + encode_end(event))
            case Started():
                return b""
            case Prefilled():
                return self._begin(event)

    @property
    def _chunks(self) -> ChunkWriter:
        assert self._writer is not None, "events begin with Started"
        return self._writer

    def _begin(self, event: Prefilled) -> bytes:
        """The prompt before each of its choices, as far as it is shown; they come after it."""
        ids = b""
        if self._layout.shows_token_ids:
            ids = b',"prompt_token_ids":' + wire.encode_json([token.id for token in event.tokens])
        text = self._exchange.echo(event.prompt_index, event.tokens)
        tokens = event.tokens if self._exchange.echoes else ()
        first = event.prompt_index * self._exchange.num_choices
        # The echo shows control tokens as they are written.
        return b"".join(
            self._text(index, text, tokens, False, ids) for index in range(first, first + self._exchange.num_choices)
        )

    def _text(self, index: int, text: str, tokens: tuple[Token, ...], skips_special: bool, ids: bytes) -> bytes:
        """A chunk, if there is anything to say; `ids` are further fields of its choice."""
        if self._exchange.logprobs is not None and tokens:
            offset = self._offsets.get(index, 0)
            logprobs, self._offsets[index] = self._exchange.describe(tokens, offset, skips_special=skips_special)
            after = b',"logprobs":' + wire.one_line(wire.encode_json(logprobs)) + b',"finish_reason":null'
            return self._chunks.text_with(index, text, after + ids)
        return self._chunks.text_with(index, text, _AFTER_TEXT + ids) if text or ids else b""


def _mean_logprob(choice: Choice) -> float:
    logprobs = [token.logprob for token in choice.tokens if token.logprob is not None]
    return sum(logprobs) / len(logprobs) if logprobs else float("-inf")
