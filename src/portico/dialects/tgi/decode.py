"""TGI's bodies to requests, with TGI's ranges and in its order of checks."""

from __future__ import annotations

from typing import Any, TypeVar

from portico.core.dialect import Exchange, RawRequest
from portico.core.errors import InvalidParameter, MalformedRequest
from portico.core.ledger import Ledger
from portico.core.model import ServerLimits
from portico.core.request import (
    GenerationRequest,
    OutputOptions,
    Prompt,
    Sampling,
    Stopping,
    TextPrompt,
    Watermark,
    keep_end,
)
from portico.dialects import wire
from portico.dialects.tgi import ledgers
from portico.dialects.tgi.encode import TextExchange
from portico.dialects.tgi.grammar import decode_grammar
from portico.dialects.tgi.layout import Layout
from portico.dialects.tgi.mindie import MindieExchange
from portico.dialects.tgi.profile import Profile
from portico.dialects.tgi.schema import Body, Parameters

T = TypeVar("T")

MAX_SEED = 2**64 - 1
# TGI plans output in pieces of this length and checks only the first one against the context.
CHECKED_NEW_TOKENS = 1024
WATERMARK = Watermark(gamma=0.5, delta=2.0, hash_key=15485863)


def decode_generate(raw: RawRequest, profile: Profile) -> Exchange:
    """Reads `POST /generate`.

    Raises:
        RequestError: what TGI refuses, and what is not honoured.
    """
    body, parameters = read(raw.body, ledgers.GENERATE, profile)
    return _exchange(raw, profile, body, parameters, stream=False, full_text=False)


def decode_generate_stream(raw: RawRequest, profile: Profile) -> Exchange:
    """Reads `POST /generate_stream`.

    Raises:
        RequestError: what TGI refuses, and what is not honoured.
    """
    body, parameters = read(raw.body, ledgers.GENERATE_STREAM, profile)
    return _exchange(raw, profile, body, parameters, stream=True, full_text=False)


def decode_root(raw: RawRequest, profile: Profile) -> Exchange:
    """Reads `POST /`, where the text includes the prompt unless asked otherwise.

    Raises:
        RequestError: what TGI refuses, and what is not honoured.
    """
    body, parameters = read(raw.body, ledgers.ROOT, profile)
    full_text = profile.echoes_on_root
    return _exchange(raw, profile, body, parameters, stream=body.stream, full_text=full_text, in_array=True)


def claims(body: bytes, *names: str) -> bool:
    """Whether a body on a shared path has `inputs`, or one of the other names."""
    try:
        fields = wire.read_object(body)
    except MalformedRequest:
        return False
    return any(fields.get(name) is not None for name in ("inputs", *names))


def read(body: bytes, ledger: Ledger, profile: Profile) -> tuple[Body, Parameters]:
    """The fields of a body and of its `parameters`.

    Raises:
        RequestError: a field has the wrong type or is not honoured.
    """
    fields = wire.decode_object(body)
    ledger.check(fields)
    decoded = _convert(fields, Body, "")
    if decoded.parameters is None:
        return decoded, Parameters(do_sample=not profile.has_token_lists)
    ledgers.PARAMETERS.check(decoded.parameters)
    return decoded, read_parameters(decoded.parameters)


def read_parameters(fields: dict[str, Any]) -> Parameters:
    """The fields of `parameters`, which the ledger has let pass.

    Raises:
        SchemaMismatch: one has the wrong type.
    """
    return _convert(fields, Parameters, "parameters")


def _convert(fields: dict[str, Any], schema: type[T], scope: str) -> T:
    given = {name: value for name, value in fields.items() if value is not None}
    return wire.convert(given, schema, scope)


def _exchange(
    raw: RawRequest,
    profile: Profile,
    body: Body,
    parameters: Parameters,
    *,
    stream: bool,
    full_text: bool,
    in_array: bool = False,
) -> Exchange:
    prompt = TextPrompt(body.inputs, add_special_tokens=True)
    request = build_request(raw, profile, parameters, (prompt,), stream=stream)
    if parameters.return_full_text is not None:
        full_text = parameters.return_full_text
    layout = Layout(
        profile=profile,
        prefix=body.inputs + profile.separator if full_text else "",
        num_characters=len(body.inputs),
        has_details=parameters.details or (parameters.decoder_input_details and not stream),
        top_n_tokens=parameters.top_n_tokens or 0,
        in_array=in_array,
        max_new_tokens=parameters.max_new_tokens,
    )
    if profile.has_token_lists:
        return MindieExchange(request, layout)
    return TextExchange(request, layout)


def build_request(
    raw: RawRequest, profile: Profile, parameters: Parameters, prompts: tuple[Prompt, ...], *, stream: bool
) -> GenerationRequest:
    """The canonical request, with what every route of this dialect means by its parameters.

    Raises:
        InvalidParameter: a value out of its range, or an empty prompt.
    """
    is_empty = any(isinstance(prompt, TextPrompt) and not prompt.text for prompt in prompts)
    _check(parameters, raw.limits, profile, stream, is_empty=is_empty)
    return GenerationRequest(
        request_id=raw.request_id,
        client_id=None,
        timeout=None,
        model=None,
        prompts=prompts,
        cache_salt="",
        truncate=keep_end(parameters.truncate),
        banned_words=(),
        sampling=_sampling(parameters, profile),
        stopping=_stopping(parameters, profile),
        output=_output(parameters, profile, stream),
        stream=stream,
    )


def _check(parameters: Parameters, limits: ServerLimits, profile: Profile, stream: bool, *, is_empty: bool) -> None:
    _check_choices(parameters, wire.or_default(profile.max_best_of, limits.max_choices), stream)
    _check_sampling(parameters, profile)
    _check_positive("max_new_tokens", parameters.max_new_tokens)
    max_stop = min(wire.or_default(profile.max_stop_sequences, limits.max_stop), limits.max_stop)
    if len(parameters.stops) > max_stop:
        raise InvalidParameter(
            "stop", f"`stop` supports up to {max_stop} stop sequences. Given: {len(parameters.stops)}"
        )
    if "" in parameters.stops:
        raise InvalidParameter("stop", "`stop` cannot have an empty stop sequence")
    wire.require_short_words("stop", parameters.stops)
    _check_between("seed", parameters.seed, 0, MAX_SEED)
    if parameters.seed is not None and (parameters.best_of or 1) > 1:
        raise InvalidParameter("seed", f"`seed` must not be set when `best_of` > 1. Given: {parameters.seed}")
    max_top_n = min(wire.or_default(profile.max_top_n_tokens, limits.max_logprobs), limits.max_logprobs)
    _check_between("top_n_tokens", parameters.top_n_tokens, 0, max_top_n)
    if is_empty:
        raise InvalidParameter("inputs", "`inputs` cannot be empty")
    _check_truncation(parameters.truncate, limits.max_prompt_tokens)


def _check_sampling(parameters: Parameters, profile: Profile) -> None:
    if profile.takes_neutral:
        for name in ("temperature", "top_k", "top_p", "typical_p"):
            value = getattr(parameters, name)
            if value is not None:
                wire.require_between(name, value, 0, 1 if name.endswith("_p") else None)
    else:
        _check_positive("temperature", parameters.temperature)
    _check_positive("repetition_penalty", parameters.repetition_penalty)
    _check_between("frequency_penalty", parameters.frequency_penalty, -2.0, 2.0)
    if not profile.takes_neutral:
        _check_share("top_p", parameters.top_p)
        _check_share("typical_p", parameters.typical_p)
        _check_positive("top_k", parameters.top_k)


def _check_truncation(truncate: int | None, max_input_tokens: int | None) -> None:
    if truncate is None:
        return
    if max_input_tokens is None:
        _check_positive("truncate", truncate)
    elif not 0 < truncate <= max_input_tokens:
        raise InvalidParameter(
            "truncate", f"`truncate` must be strictly positive and less than {max_input_tokens}. Given: {truncate}"
        )


def _check_choices(parameters: Parameters, max_best_of: int, stream: bool) -> None:
    best_of = parameters.best_of
    if stream and best_of not in (None, 1):
        raise InvalidParameter("best_of", f"`best_of` != 1 is not supported when streaming tokens. Given: {best_of}")
    if stream and parameters.decoder_input_details:
        raise InvalidParameter(
            "decoder_input_details", "`decoder_input_details` == true is not supported when streaming tokens"
        )
    if best_of is None or best_of <= 1:
        return
    if max_best_of == 1:
        raise InvalidParameter("best_of", "`best_of` != 1 is not allowed for this endpoint")
    if best_of > max_best_of:
        raise InvalidParameter("best_of", f"`best_of` must be > 0 and <= {max_best_of}. Given: {best_of}")
    if not parameters.asks_for_sampling:
        raise InvalidParameter("best_of", f"you must use sampling when `best_of` is > 1. Given: {best_of}")


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and value <= 0:
        raise InvalidParameter(name, f"`{name}` must be strictly positive. Given: {value}")


def _check_between(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise InvalidParameter(name, f"`{name}` must be >= {low} and <= {high}. Given: {value}")


def _check_share(name: str, value: float | None) -> None:
    if value is not None and not 0 < value < 1:
        raise InvalidParameter(name, f"`{name}` must be > 0.0 and < 1.0. Given: {value}")


def _sampling(parameters: Parameters, profile: Profile) -> Sampling:
    temperature = 1.0 if parameters.temperature is None else parameters.temperature
    # To TGI, a temperature of exactly 1 says nothing.
    draws = parameters.draws or (profile.has_token_lists and parameters.temperature is not None)
    return Sampling(
        temperature=temperature if draws else 0.0,
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
        grammar=decode_grammar(parameters.grammar),
        watermark=WATERMARK if parameters.watermark else None,
        seed=parameters.seed,
    )


def _stopping(parameters: Parameters, profile: Profile) -> Stopping:
    wanted = wire.or_default(parameters.max_new_tokens, profile.default_max_new_tokens)
    cuts = profile.has_token_lists or (wanted is not None and wanted > CHECKED_NEW_TOKENS)
    return Stopping(
        max_tokens=wanted,
        clamps_max_tokens=cuts,
        min_room=1 if profile.has_token_lists else CHECKED_NEW_TOKENS,
        min_tokens=parameters.min_new_tokens,
        stop=parameters.stops,
        stop_token_ids=(),
        ignore_eos=parameters.ignore_eos,
        include_stop=True,
        stop_at_token_end=profile.stops_at_token_end,
    )


def _output(parameters: Parameters, profile: Profile, stream: bool) -> OutputOptions:
    num_choices = parameters.best_of or 1
    is_ranked = num_choices > 1
    if profile.has_token_lists:
        return OutputOptions(
            num_choices=num_choices,
            token_details=is_ranked,
            logprobs=0 if is_ranked else None,
            prompt_logprobs=None,
            prompt_details=parameters.decoder_input_details,
            processed_logprobs=True,
            skip_special_tokens=True,
        )
    # The best of several is found by their log-probabilities, even when these are not shown.
    has_logprobs = stream or parameters.details or parameters.decoder_input_details or is_ranked
    return OutputOptions(
        num_choices=num_choices,
        token_details=has_logprobs,
        logprobs=(parameters.top_n_tokens or 0) if has_logprobs else None,
        prompt_logprobs=0 if parameters.decoder_input_details else None,
        prompt_details=False,
        processed_logprobs=True,
        skip_special_tokens=True,
    )
