"""The native bodies of MindIE Service to requests."""

from __future__ import annotations

from typing import Any

from portico.core.dialect import RawRequest
from portico.core.errors import InvalidParameter
from portico.core.model import ServerLimits
from portico.core.request import (
    GenerationRequest,
    OutputOptions,
    Prompt,
    Sampling,
    Stopping,
    TextPrompt,
    TokensPrompt,
    Watermark,
    keep_end,
)
from portico.dialects import wire
from portico.dialects.mindie import ledgers
from portico.dialects.mindie.encode import NativeExchange
from portico.dialects.mindie.schema import Body, Parameters

WATERMARK = Watermark(gamma=0.5, delta=2.0, hash_key=15485863)
_SEED_RANGE = 2**64


def decode_infer(raw: RawRequest) -> NativeExchange:
    """Reads `POST /infer` and `POST /infer_token`, which take the same bodies.

    Raises:
        RequestError: a field is out of range or not honoured.
    """
    fields = wire.decode_object(raw.body)
    ledgers.BODY.check(fields)
    body = wire.convert(_without_nulls(fields), Body)
    ledgers.PARAMETERS.check(body.parameters)
    parameters = wire.convert(_without_nulls(body.parameters), Parameters, "parameters")
    _check(parameters)
    request = GenerationRequest(
        request_id=raw.request_id,
        client_id=None,
        timeout=parameters.timeout,
        model=None,
        prompts=(_prompt(body),),
        cache_salt="",
        truncate=keep_end(parameters.truncate),
        banned_words=(),
        sampling=_sampling(parameters),
        stopping=_stopping(parameters, raw.limits),
        output=OutputOptions(
            num_choices=1,
            token_details=False,
            logprobs=None,
            prompt_logprobs=None,
            prompt_details=False,
            processed_logprobs=False,
            skip_special_tokens=parameters.skip_special_tokens,
        ),
        stream=body.stream,
    )
    return NativeExchange(request, parameters.details)


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _prompt(body: Body) -> Prompt:
    if body.inputs is not None and body.input_id is not None:
        raise InvalidParameter("input_id", "Input conflict: give either `inputs` or `input_id`.")
    if body.inputs:
        return TextPrompt(body.inputs, add_special_tokens=True)
    if body.input_id:
        return TokensPrompt(wire.token_ids("input_id", body.input_id))
    name = "inputs" if body.input_id is None else "input_id"
    raise InvalidParameter(name, f"`{name}` is required and cannot be empty.")


def _check(parameters: Parameters) -> None:
    _check_range("temperature", parameters.temperature, 0)
    _check_range("top_k", parameters.top_k, -1)
    _check_range("top_p", parameters.top_p, 0, 1, excludes_low=True)
    _check_range("typical_p", parameters.typical_p, 0, 1, excludes_low=True)
    _check_range("repetition_penalty", parameters.repetition_penalty, 0, excludes_low=True)
    _check_range("presence_penalty", parameters.presence_penalty, -2, 2)
    _check_range("frequency_penalty", parameters.frequency_penalty, -2, 2)
    _check_range("max_new_tokens", parameters.max_new_tokens, 0, excludes_low=True)
    _check_range("min_new_tokens", parameters.min_new_tokens, 0)
    _check_range("truncate", parameters.truncate, 0, excludes_low=True)
    _check_range("timeout", parameters.timeout, 1, 65535)
    _check_range("seed", parameters.seed, -(2**63), _SEED_RANGE - 1)


def _check_range(
    name: str, value: float | None, low: float, high: float | None = None, *, excludes_low: bool = False
) -> None:
    if value is None:
        return
    is_low = value <= low if excludes_low else value < low
    if is_low or (high is not None and value > high):
        opening = "(" if excludes_low else "["
        closing = "inf)" if high is None else f"{high}]"
        raise InvalidParameter(name, f"Parameter {name} must be in {opening}{low},{closing}, got {value}.")


def _sampling(parameters: Parameters) -> Sampling:
    temperature = 1.0 if parameters.temperature is None else parameters.temperature
    return Sampling(
        temperature=temperature if parameters.draws else 0.0,
        top_k=max(parameters.top_k or 0, 0),
        top_p=parameters.top_p or 1.0,
        typical_p=parameters.typical_p or 1.0,
        min_p=0.0,
        repetition_penalty=parameters.repetition_penalty,
        presence_penalty=parameters.presence_penalty,
        frequency_penalty=parameters.frequency_penalty,
        frequency_penalty_is_relative=False,
        logit_bias=(),
        allowed_token_ids=None,
        banned_sequences=(),
        grammar=None,
        watermark=WATERMARK if parameters.watermark else None,
        seed=None if parameters.seed is None else parameters.seed % _SEED_RANGE,
    )


def _stopping(parameters: Parameters, limits: ServerLimits) -> Stopping:
    return Stopping(
        max_tokens=parameters.max_new_tokens,
        clamps_max_tokens=True,
        min_room=1,
        min_tokens=parameters.min_new_tokens,
        stop=wire.stop_strings("stop", parameters.stop, limits.max_stop),
        stop_token_ids=wire.token_ids("stop_token_ids", parameters.stop_token_ids, limits.max_token_ids),
        ignore_eos=parameters.ignore_eos,
        include_stop=parameters.include_stop_str_in_output,
        stop_at_token_end=False,
    )
