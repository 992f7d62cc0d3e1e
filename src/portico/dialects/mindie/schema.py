"""The shapes of the native bodies of MindIE Service. Null means absent, so absent fields are None."""

from __future__ import annotations

from typing import Any

import msgspec


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What the native routes read; one of `inputs` and `input_id` is there."""

    inputs: str | None = None
    input_id: list[int] | None = None
    stream: bool = False
    parameters: dict[str, Any] = {}


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """`parameters` of the native routes."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None
    do_sample: bool = False
    seed: int | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    watermark: bool = False
    max_new_tokens: int = 20
    min_new_tokens: int = 0
    stop: str | list[str] = []
    stop_token_ids: list[int] = []
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    truncate: int | None = None
    timeout: int | None = None
    details: bool = False

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn, as far as `temperature` does not say otherwise."""
        given = (self.temperature, self.top_k, self.top_p, self.typical_p)
        return self.do_sample or any(value is not None for value in given)


class TokenizerFields(msgspec.Struct, frozen=True, kw_only=True):
    """What `/v1/tokenizer` reads."""

    inputs: str
    do_decode: bool = True


class StopFields(msgspec.Struct, frozen=True, kw_only=True):
    """What `stopInfer` reads."""

    id: str


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """How the text of a whole answer came about."""

    finish_reason: str
    generated_tokens: int
    generated_token_ids: list[int]
    seed: int | None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    generated_text: str
    details: Details | msgspec.UnsetType = msgspec.UNSET


class StreamToken(msgspec.Struct, frozen=True):
    """The tokens of one event and the text they add; in the last event the text is null."""

    id: list[int]
    text: str | None


class StreamDetails(msgspec.Struct, frozen=True, kw_only=True):
    """How the text of a stream came about."""

    finish_reason: str
    generated_tokens: int
    seed: int | None


class StreamEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event before the last one. Milliseconds of single steps are not known."""

    prefill_time: float | None = None
    decode_time: float | None = None
    token: StreamToken


class LastEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The last event, with the whole text."""

    prefill_time: float | None = None
    decode_time: float | None = None
    generated_text: str
    details: StreamDetails | None
    token: StreamToken
