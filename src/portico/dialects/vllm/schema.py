"""The wire of `POST /generate`, `/tokenize` and `/detokenize`, as far as it is honoured.

Source: vLLM's demonstration API server, which takes `prompt`, `stream` and the fields of `SamplingParams`. Null and
absent mean the same, so both are None. Fields that change nothing are the ledger's business alone.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class GenerateFields(msgspec.Struct, kw_only=True):
    """The body of `POST /generate`."""

    prompt: str
    model: str | None = None
    stream: bool | None = None
    n: int | None = None
    best_of: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    max_tokens: int | None = None
    min_tokens: int | None = None
    skip_special_tokens: bool | None = None
    truncate_prompt_tokens: int | None = None
    truncation_side: Literal["left", "right"] | None = None
    allowed_token_ids: list[int] | None = None
    bad_words: list[str] | None = None


class TokenizeFields(msgspec.Struct, kw_only=True):
    """The body of `POST /tokenize`, which has a prompt or messages; messages are read one by one."""

    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeFields(msgspec.Struct, kw_only=True):
    """The body of `POST /detokenize`."""

    tokens: list[int]
    model: str | None = None


class Kind(msgspec.Struct):
    """What a body is told by, whatever else it holds."""

    prompt: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    messages: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
