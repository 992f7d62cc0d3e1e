"""TGI's bodies to requests, with TGI's ranges and in its order of checks."""

from __future__ import annotations

from typing import Any, TypeVar

from portico.core.dialect import RawRequest
from portico.core.errors import InvalidParameter, MalformedRequest
from portico.core.ledger import Ledger
from portico.core.model import ServerLimits
from portico.core.request import GenerationRequest, OutputOptions, Sampling, Stopping, TextPrompt, Watermark, keep_end
from portico.dialects import wire
from portico.dialects.tgi import ledgers
from portico.dialects.tgi.encode import TextExchange
from portico.dialects.tgi.layout import Layout
from portico.dialects.tgi.schema import Body, Parameters

T = TypeVar("T")

MAX_TOP_N_TOKENS = 5
MAX_SEED = 2**64 - 1
# TGI plans output in pieces of this length and checks only the first one against the context.
CHECKED_NEW_TOKENS = 1024
WATERMARK = Watermark(gamma=0.5, delta=2.0, hash_key=15485863)


def decode_generate(raw: RawRequest) -> TextExchange:
    """Reads `POST /generate`.

    Raises:
        RequestError: what TGI refuses, and what is not honoured.
    """
    body, parameters = _read(raw.body, ledgers.GENERATE)
    return _exchange(raw, body, parameters, stream=False, full_text=False)


def decode_generate_stream(raw: RawRequest) -> TextExchange:
    """Reads `POST /generate_stream`.

    Raises:
        RequestError: what TGI refuses, and what is not honoured.
    """
    body, parameters = _read(raw.body, ledgers.GENERATE_STREAM)
    return _exchange(raw, body, parameters, stream=True, full_text=False)


def decode_root(raw: RawRequest) -> TextExchange:
    """Reads `POST /`, where the text includes the prompt unless asked otherwise.

    Raises:
        RequestError: what TGI refuses, and what is not honoured.
    """
    body, parameters = _read(raw.body, ledgers.ROOT)
    return _exchange(raw, body, parameters, stream=body.stream, full_text=True, in_array=True)


def claims(body: bytes) -> bool:
    """Whether a body on a shared path has `inputs`."""
    try:
        return wire.decode_object(body).get("inputs") is not None
    except MalformedRequest:
        return False


def _read(body: bytes, ledger: Ledger) -> tuple[Body, Parameters]:
    fields = wire.decode_object(body)
    ledger.check(fields)
    decoded = _convert(fields, Body, "")
    if decoded.parameters is None:
        return decoded, Parameters(do_sample=True)
    ledgers.PARAMETERS.check(decoded.parameters)
    return decoded, _convert(decoded.parameters, Parameters, "parameters")


def _convert(fields: dict[str, Any], schema: type[T], scope: str) -> T:
    given = {name: value for name, value in fields.items() if value is not None}
    return wire.convert(given, schema, scope)


def _exchange(
    raw: RawRequest, body: Body, parameters: Parameters, *, stream: bool, full_text: bool, in_array: bool = False
) -> TextExchange:
    _check(body, parameters, raw.limits, stream)
    if parameters.return_full_text is not None:
        full_text = parameters.return_full_text
    request = GenerationRequest(
        request_id=raw.request_id,
        model=None,
        prompts=(TextPrompt(body.inputs, add_special_tokens=True),),
        truncate=keep_end(parameters.truncate),
        banned_words=(),
        sampling=_sampling(parameters),
        stopping=_stopping(parameters),
        output=_output(parameters, stream),
        stream=stream,
    )
    layout = Layout(
        prefix=body.inputs if full_text else "",
        num_characters=len(body.inputs),
        has_details=parameters.details or (parameters.decoder_input_details and not stream),
        top_n_tokens=parameters.top_n_tokens or 0,
        in_array=in_array,
    )
    return TextExchange(request, layout)


def _check(body: Body, parameters: Parameters, limits: ServerLimits, stream: bool) -> None:
    _check_choices(parameters, limits, stream)
    _check_positive("temperature", parameters.temperature)
    _check_positive("repetition_penalty", parameters.repetition_penalty)
    _check_between("frequency_penalty", parameters.frequency_penalty, -2.0, 2.0)
    _check_share("top_p", parameters.top_p)
    _check_share("typical_p", parameters.typical_p)
    _check_positive("top_k", parameters.top_k)
    _check_positive("max_new_tokens", parameters.max_new_tokens)
    num_stops = len(parameters.stops)
    if num_stops > limits.max_stop:
        raise InvalidParameter("stop", f"`stop` supports up to {limits.max_stop} stop sequences. Given: {num_stops}")
    if "" in parameters.stops:
        raise InvalidParameter("stop", "`stop` cannot have an empty stop sequence")
    _check_between("seed", parameters.seed, 0, MAX_SEED)
    _check_between("top_n_tokens", parameters.top_n_tokens, 0, min(MAX_TOP_N_TOKENS, limits.max_logprobs))
    if not body.inputs:
        raise InvalidParameter("inputs", "`inputs` cannot be empty")
    _check_positive("truncate", parameters.truncate)


def _check_choices(parameters: Parameters, limits: ServerLimits, stream: bool) -> None:
    best_of = parameters.best_of
    if stream and best_of not in (None, 1):
        raise InvalidParameter("best_of", f"`best_of` != 1 is not supported when streaming tokens. Given: {best_of}")
    if stream and parameters.decoder_input_details:
        raise InvalidParameter(
            "decoder_input_details", "`decoder_input_details` == true is not supported when streaming tokens"
        )
    if best_of is None or best_of <= 1:
        return
    if best_of > limits.max_choices:
        raise InvalidParameter("best_of", f"`best_of` must be > 0 and <= {limits.max_choices}. Given: {best_of}")
    if not parameters.asks_for_sampling:
        raise InvalidParameter("best_of", f"you must use sampling when `best_of` is > 1. Given: {best_of}")
    if parameters.seed is not None:
        raise InvalidParameter("seed", f"`seed` must not be set when `best_of` > 1. Given: {parameters.seed}")


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and value <= 0:
        raise InvalidParameter(name, f"`{name}` must be strictly positive. Given: {value}")


def _check_between(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise InvalidParameter(name, f"`{name}` must be >= {low} and <= {high}. Given: {value}")


def _check_share(name: str, value: float | None) -> None:
    if value is not None and not 0 < value < 1:
        raise InvalidParameter(name, f"`{name}` must be > 0.0 and < 1.0. Given: {value}")


def _sampling(parameters: Parameters) -> Sampling:
    temperature = 1.0 if parameters.temperature is None else parameters.temperature
    return Sampling(
        temperature=temperature if parameters.draws else 0.0,
        top_k=parameters.top_k or 0,
        top_p=parameters.top_p or 1.0,
        typical_p=parameters.typical_p or 1.0,
        min_p=0.0,
        repetition_penalty=parameters.repetition_penalty or 1.0,
        presence_penalty=0.0,
        frequency_penalty=parameters.frequency_penalty or 0.0,
        frequency_penalty_is_relative=True,
        logit_bias=(),
        allowed_token_ids=None,
        banned_sequences=(),
        watermark=WATERMARK if parameters.watermark else None,
        seed=parameters.seed,
    )


def _stopping(parameters: Parameters) -> Stopping:
    wanted = parameters.max_new_tokens
    return Stopping(
        max_tokens=wanted,
        clamps_max_tokens=wanted is not None and wanted > CHECKED_NEW_TOKENS,
        min_tokens=parameters.min_new_tokens,
        stop=parameters.stops,
        stop_token_ids=(),
        ignore_eos=parameters.ignore_eos,
        include_stop=True,
    )


def _output(parameters: Parameters, stream: bool) -> OutputOptions:
    num_choices = parameters.best_of or 1
    shows_tokens = stream or parameters.details or parameters.decoder_input_details
    # The best of several is found by their log-probabilities, even when these are not shown.
    has_logprobs = shows_tokens or num_choices > 1
    return OutputOptions(
        num_choices=num_choices,
        token_details=has_logprobs,
        logprobs=(parameters.top_n_tokens or 0) if has_logprobs else None,
        prompt_logprobs=0 if parameters.decoder_input_details else None,
        prompt_details=False,
        processed_logprobs=True,
        skip_special_tokens=True,
    )
