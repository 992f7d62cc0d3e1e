"""The wire of `POST /generate`, as far as it is honoured.

Source: vLLM's demonstration API server, which takes `prompt`, `stream` and the fields of `SamplingParams`. Null and
absent mean the same, so both are None. Fields that change nothing are the ledger's business alone.
"""

from __future__ import annotations

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


class PromptOnly(msgspec.Struct):
    """Whether a body has a prompt, whatever else it holds."""

    prompt: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
