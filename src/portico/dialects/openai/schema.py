"""The wire of OpenAI's requests, as far as it is honoured.

Source: OpenAI API reference, "Create chat completion" and "Create completion"; the fields from `top_k` on are those
that open servers add to both. Null and absent mean the same everywhere, so both are None. Fields that change nothing
are the ledgers' business alone.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class StreamOptions(msgspec.Struct, kw_only=True):
    """`stream_options` of both routes."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class SamplingFields(msgspec.Struct, kw_only=True):
    """What both routes have in common."""

    model: str | None = None
    n: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    min_tokens: int | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    truncate_prompt_tokens: int | None = None
    truncation_side: Literal["left", "right"] | None = None
    allowed_token_ids: list[int] | None = None
    bad_words: list[str] | None = None
    cache_salt: str | None = None
    prompt_logprobs: int | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    request_id: str | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None


class ChatFields(SamplingFields, kw_only=True):
    """The body of `POST /v1/chat/completions`; messages and tools are read one by one, with the template's fields."""

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    include_reasoning: bool | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    echo: bool | None = None
    return_prompt_text: bool | None = None


class CompletionFields(SamplingFields, kw_only=True):
    """The body of `POST /v1/completions`.

    A prompt is text, a list of texts, token ids, or a list of lists of token ids; msgspec allows one array type only,
    so mixtures are refused later.
    """

    prompt: str | list[str | int | list[int]] | None = None
    best_of: int | None = None
    echo: bool | None = None
    logprobs: int | None = None
    add_special_tokens: bool | None = None


class Kind(msgspec.Struct):
    """What tells the two requests apart where they share a path."""

    messages: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    prompt: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
