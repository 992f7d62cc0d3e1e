"""Bodies of `POST /v1/messages` to canonical requests.

Source: Anthropic API reference, "Create a message".
"""

from __future__ import annotations

from typing import Any

from portico.core.dialect import Exchange, RawRequest
from portico.core.errors import InvalidParameter
from portico.core.grammar import Grammar, GrammarKind
from portico.core.model import SamplingDefaults, ServerLimits
from portico.core.request import GenerationRequest, OutputOptions, Sampling, Stopping
from portico.dialects import wire
from portico.dialects.anthropic.encode import MessageExchange
from portico.dialects.anthropic.ledgers import MESSAGES, OUTPUT_CONFIG
from portico.dialects.anthropic.prompt import decode_prompt
from portico.dialects.anthropic.schema import MessagesFields


def decode_messages(raw: RawRequest, defaults: SamplingDefaults) -> Exchange:
    """A request to `POST /v1/messages`.

    Raises:
        RequestError: the body is no such request, or asks for what this server does not do.
    """
    body = wire.decode_object(raw.body)
    MESSAGES.check(body)
    check_output_config(body)
    fields = wire.convert(body, MessagesFields)
    prompt, toolbox = decode_prompt(fields, raw.limits)
    request = GenerationRequest(
        request_id=raw.request_id,
        client_id=None,
        timeout=None,
        model=fields.model or None,
        prompts=(prompt,),
        cache_salt=wire.cache_salt("cache_salt", fields.cache_salt),
        truncate=None,
        banned_words=(),
        sampling=toolbox.constrain(_sampling(fields, defaults)),
        stopping=_stopping(fields, defaults, raw.limits),
        output=OutputOptions(
            num_choices=1,
            token_details=False,
            logprobs=None,
            prompt_logprobs=None,
            prompt_details=False,
            processed_logprobs=False,
            skip_special_tokens=True,
            markup=toolbox.markup(),
        ),
        stream=fields.stream or False,
    )
    is_hidden = fields.thinking is not None and fields.thinking.display == "omitted"
    return MessageExchange(request, f"msg_{raw.request_id}", shows_thinking=not is_hidden)


def check_output_config(body: dict[str, Any]) -> None:
    """Checks the fields of `output_config`, where there are any.

    Raises:
        UnsupportedParameter: one is unknown or refused.
    """
    if isinstance(body.get("output_config"), dict):
        OUTPUT_CONFIG.check(body["output_config"])


def _sampling(fields: MessagesFields, defaults: SamplingDefaults) -> Sampling:
    sampling = Sampling(
        temperature=_first(fields.temperature, defaults.temperature, 1.0),
        top_k=int(_first(fields.top_k, defaults.top_k, 0)),
        top_p=_first(fields.top_p, defaults.top_p, 1.0),
        typical_p=1.0,
        min_p=_first(None, defaults.min_p, 0.0),
        repetition_penalty=_first(None, defaults.repetition_penalty, 1.0),
        presence_penalty=0.0,
        frequency_penalty=0.0,
        frequency_penalty_is_relative=False,
        logit_bias=(),
        allowed_token_ids=None,
        banned_sequences=(),
        grammar=_grammar(fields),
        watermark=None,
        seed=None,
    )
    if fields.temperature is not None:
        wire.require_between("temperature", fields.temperature, 0, 1)
    wire.require_between("top_p", sampling.top_p, 0, 1, without_low=True)
    wire.require_between("top_k", sampling.top_k, 0)
    return sampling


def _grammar(fields: MessagesFields) -> Grammar | None:
    if fields.output_config is None or fields.output_config.format is None:
        return None
    try:
        schema = wire.encode_json(fields.output_config.format.json_schema).decode()
    except RecursionError:
        raise InvalidParameter("output_config.format", "`output_config.format` is nested too deep.") from None
    return Grammar(GrammarKind.JSON_SCHEMA, schema, "output_config.format")


def _stopping(fields: MessagesFields, defaults: SamplingDefaults, limits: ServerLimits) -> Stopping:
    wire.require_between("max_tokens", fields.max_tokens, 1)
    bounds = [each for each in (fields.max_tokens, defaults.max_tokens) if each is not None]
    return Stopping(
        max_tokens=min(bounds),
        clamps_max_tokens=True,
        min_room=1,
        min_tokens=0,
        stop=wire.stop_strings("stop_sequences", fields.stop_sequences, limits.max_stop),
        stop_token_ids=(),
        ignore_eos=False,
        include_stop=False,
        stop_at_token_end=False,
    )


def _first(given: float | None, default: float | None, neutral: float) -> float:
    return next(each for each in (given, default, neutral) if each is not None)
