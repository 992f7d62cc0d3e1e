"""The shapes of TGI's bodies. Null means absent in all of them, so absent fields are None."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Unsigned = Annotated[int, msgspec.Meta(ge=0)]


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What a generating route reads."""

    inputs: str
    parameters: dict[str, Any] | None = None
    stream: bool = False


class ChatTokenizeFields(msgspec.Struct, frozen=True, kw_only=True):
    """What `/chat_tokenize` reads by itself; messages are read one by one."""

    messages: list[dict[str, Any]]


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """`parameters` of a generating route."""

    best_of: Unsigned | None = None
    temperature: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None
    do_sample: bool = False
    max_new_tokens: Unsigned | None = None
    return_full_text: bool | None = None
    stop: str | list[str] = []
    stop_sequences: list[str] = []
    truncate: Unsigned | None = None
    watermark: bool = False
    details: bool = False
    decoder_input_details: bool = False
    seed: Unsigned | None = None
    top_n_tokens: Unsigned | None = None
    ignore_eos: bool = False
    min_new_tokens: Unsigned = 0
    grammar: dict[str, Any] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """All stop strings, under either name."""
        return (*([self.stop] if isinstance(self.stop, str) else self.stop), *self.stop_sequences)

    @property
    def asks_for_sampling(self) -> bool:
        """Whether any field that only means something to a drawn token was given, even with a neutral value."""
        given = (self.temperature, self.top_k, self.top_p, self.typical_p)
        return self.do_sample or any(value is not None for value in given)

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn; a temperature of exactly 1 does not turn drawing on by itself.

        Values that turn a filter off count as given.
        """
        filters = (self.top_k, self.top_p, self.typical_p)
        return self.do_sample or self.temperature not in (None, 1.0) or any(value is not None for value in filters)


class PrefillToken(msgspec.Struct, frozen=True):
    """One token of the prompt."""

    id: int
    text: str
    logprob: float | None


class OutputToken(msgspec.Struct, frozen=True):
    """One token of the output, or one that could have stood in its place."""

    id: int
    text: str
    logprob: float | None
    special: bool


TopTokens = list[list[OutputToken]]


class Sequence(msgspec.Struct, frozen=True, kw_only=True):
    """A continuation that was not the best."""

    generated_text: str
    finish_reason: str
    generated_tokens: int
    seed: int | None
    prefill: list[PrefillToken]
    tokens: list[OutputToken]
    top_tokens: TopTokens | msgspec.UnsetType = msgspec.UNSET


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """How the text came about."""

    finish_reason: str
    generated_tokens: int
    seed: int | None
    prefill: list[PrefillToken]
    tokens: list[OutputToken]
    best_of_sequences: list[Sequence] | msgspec.UnsetType = msgspec.UNSET
    top_tokens: TopTokens | msgspec.UnsetType = msgspec.UNSET


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    generated_text: str
    details: Details | msgspec.UnsetType = msgspec.UNSET


class StreamDetails(msgspec.Struct, frozen=True, kw_only=True):
    """How the text of a stream came about."""

    finish_reason: str
    generated_tokens: int
    seed: int | None
    input_length: int


class StreamEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One token of a stream; the last one carries the whole text."""

    index: int
    token: OutputToken
    top_tokens: list[OutputToken] | msgspec.UnsetType = msgspec.UNSET
    generated_text: str | None = None
    details: StreamDetails | None = None
