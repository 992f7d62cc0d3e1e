"""The health check that runs the model: one token within the time that is given.

Source: MindIE Service's EndPoint API, "/health/timed".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from portico.core.dialect import RawRequest, Reply, StreamEncoder
from portico.core.errors import EngineFailure, UnknownRoute
from portico.core.events import FinishReason, Result
from portico.core.request import GenerationRequest, OutputOptions, Sampling, Stopping, TokensPrompt
from portico.dialects import wire
from portico.dialects.mindie import errors

_DEFAULT_SECONDS = 10
_MAX_SECONDS = 600
# Every vocabulary has it.
_PROMPT = (0,)


@dataclass(frozen=True, slots=True)
class TimedHealth:
    """An inference whose text nobody reads."""

    request: GenerationRequest

    def reply(self, result: Result) -> Reply:
        """Healthy, if there was a token."""
        if result.choices[0].reason is FinishReason.ABORT:
            return errors.refuse(EngineFailure("The generation was broken off."))
        return Reply(200, wire.encode_json({"status": "healthy"}))

    def encoder(self) -> StreamEncoder:
        """There is none."""
        raise NotImplementedError("a health check is not streamed")


def decode_timed(raw: RawRequest) -> TimedHealth:
    """Reads `GET /health/timed` and `GET /health/timed-{seconds}`.

    Raises:
        UnknownRoute: the seconds are not a number from 1 to 600.
    """
    return TimedHealth(
        GenerationRequest(
            request_id=raw.request_id,
            client_id=None,
            timeout=_seconds(raw),
            model=None,
            prompts=(TokensPrompt(_PROMPT),),
            cache_salt="",
            truncate=None,
            banned_words=(),
            sampling=_GREEDY,
            stopping=_ONE_TOKEN,
            output=_NOTHING,
            stream=False,
        )
    )


def _seconds(raw: RawRequest) -> int:
    text = raw.path_params.get("seconds", str(_DEFAULT_SECONDS))
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text) or int(text) > _MAX_SECONDS:
        raise UnknownRoute(raw.method, raw.path)
    return int(text)


_GREEDY = Sampling(
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
_ONE_TOKEN = Stopping(
    max_tokens=1,
    clamps_max_tokens=True,
    min_room=1,
    min_tokens=0,
    stop=(),
    stop_token_ids=(),
    ignore_eos=False,
    include_stop=False,
    stop_at_token_end=False,
)
_NOTHING = OutputOptions(
    num_choices=1,
    token_details=False,
    logprobs=None,
    prompt_logprobs=None,
    prompt_details=False,
    processed_logprobs=False,
    skip_special_tokens=True,
)
