"""Canonical requests for tests, with every setting neutral unless said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from portico.core.request import GenerationRequest, OutputOptions, Sampling, Stopping, TextPrompt

GREEDY = Sampling(
    temperature=0.0,
    top_k=0,
    top_p=1.0,
    typical_p=1.0,
    min_p=0.0,
    repetition_penalty=1.0,
    presence_penalty=0.0,
    frequency_penalty=0.0,
    frequency_penalty_is_relative=False,
    logit_bias=(),
    allowed_token_ids=None,
    banned_sequences=(),
    grammar=None,
    watermark=None,
    seed=None,
)

_STOPPING = Stopping(
    max_tokens=8,
    clamps_max_tokens=False,
    min_room=1,
    min_tokens=0,
    stop=(),
    stop_token_ids=(),
    ignore_eos=False,
    include_stop=False,
    stop_at_token_end=False,
)

_OUTPUT = OutputOptions(
    num_choices=1,
    token_details=False,
    logprobs=None,
    prompt_logprobs=None,
    prompt_details=False,
    processed_logprobs=False,
    skip_special_tokens=True,
)


def make_request(
    *texts: str,
    sampling: dict[str, Any] | None = None,
    stopping: dict[str, Any] | None = None,
    output: dict[str, Any] | None = None,
    **fields: Any,
) -> GenerationRequest:
    """A greedy request for 8 tokens after each text; the dictionaries change single settings."""
    request = GenerationRequest(
        request_id="r",
        client_id=None,
        timeout=None,
        model=None,
        prompts=tuple(TextPrompt(text, add_special_tokens=True) for text in texts or ("hello",)),
        cache_salt="",
        truncate=None,
        banned_words=(),
        sampling=replace(GREEDY, **(sampling or {})),
        stopping=replace(_STOPPING, **(stopping or {})),
        output=replace(_OUTPUT, **(output or {})),
        stream=False,
    )
    return replace(request, **fields)
