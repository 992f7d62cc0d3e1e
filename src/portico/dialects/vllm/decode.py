"""Bodies of `POST /generate` to canonical requests.

Source: vLLM's demonstration API server and its `SamplingParams`; MindIE Service's EndPoint API, vLLM interface.
"""

from __future__ import annotations

from typing import Any

from portico.core.dialect import Exchange, RawRequest
from portico.core.errors import InvalidParameter
from portico.core.grammar import Grammar
from portico.core.model import ServerLimits
from portico.core.request import GenerationRequest, OutputOptions, Sampling, Stopping, TextPrompt, Truncation
from portico.dialects import wire
from portico.dialects.grammars import decode_structured_outputs, only_one
from portico.dialects.vllm.encode import GenerateExchange
from portico.dialects.vllm.ledgers import GENERATE
from portico.dialects.vllm.profile import Profile
from portico.dialects.vllm.schema import GenerateFields

_MAX_BIAS = 100
_MIN_SEED, _MAX_SEED = -(2**63), 2**63 - 1
_GREEDY_BELOW, _MIN_TEMPERATURE = 1e-5, 0.01


def decode_generate(raw: RawRequest, profile: Profile) -> Exchange:
    """A request to `POST /generate`.

    Raises:
        RequestError: the body is no such request, or asks for what this server does not do.
    """
    body = wire.decode_object(raw.body)
    GENERATE.check(body)
    fields = wire.convert(body, GenerateFields)
    if not fields.prompt:
        raise InvalidParameter("prompt", "`prompt` must not be empty.")
    num_choices = wire.or_default(fields.n, 1)
    wire.require_between("n", num_choices, 1, raw.limits.max_choices)
    num_drawn = _best_of(fields, num_choices, raw.limits)
    is_ranked = not fields.stream and num_drawn > (1 if profile.returns_all_ranked else num_choices)
    request = GenerationRequest(
        request_id=raw.request_id,
        client_id=None,
        timeout=None,
        model=_model(fields),
        prompts=(TextPrompt(fields.prompt, add_special_tokens=True),),
        cache_salt="",
        truncate=_truncation(fields),
        banned_words=wire.banned_words("bad_words", fields.bad_words),
        sampling=_sampling(fields, _grammar(body), profile, raw.limits),
        stopping=_stopping(fields, profile, raw.limits),
        output=OutputOptions(
            num_choices=num_drawn,
            token_details=is_ranked,
            logprobs=0 if is_ranked else None,
            prompt_logprobs=None,
            prompt_details=False,
            processed_logprobs=False,
            skip_special_tokens=wire.or_default(fields.skip_special_tokens, True),
        ),
        stream=fields.stream or False,
    )
    num_returned = num_drawn if profile.returns_all_ranked else num_choices
    return GenerateExchange(request, profile, fields.prompt, num_returned, is_ranked)


def _model(fields: GenerateFields) -> str | None:
    """The name of the model; clients of LoRA servers write "None" for the base model."""
    return None if fields.model in (None, "", "None") else fields.model


def _truncation(fields: GenerateFields) -> Truncation | None:
    num_tokens = fields.truncate_prompt_tokens
    if num_tokens is None:
        return None
    if num_tokens != -1:
        wire.require_between("truncate_prompt_tokens", num_tokens, 1)
    return Truncation(None if num_tokens == -1 else num_tokens, keeps_start=fields.truncation_side == "right")


def _allowed_token_ids(fields: GenerateFields, limits: ServerLimits) -> tuple[int, ...] | None:
    if fields.allowed_token_ids is None:
        return None
    if not fields.allowed_token_ids:
        raise InvalidParameter("allowed_token_ids", "`allowed_token_ids` must not be empty.")
    return wire.token_ids("allowed_token_ids", fields.allowed_token_ids, limits.max_token_ids)


def _best_of(fields: GenerateFields, num_choices: int, limits: ServerLimits) -> int:
    best_of = wire.or_default(fields.best_of, num_choices)
    wire.require_between("best_of", best_of, 1, limits.max_choices)
    if best_of < num_choices:
        raise InvalidParameter("best_of", f"`best_of` must be at least `n` ({num_choices}), got {best_of}.")
    if best_of > num_choices and fields.stream:
        raise InvalidParameter("best_of", "`best_of` cannot be greater than `n` with `stream`.")
    return best_of


def _grammar(body: dict[str, Any]) -> Grammar | None:
    found = [decode_structured_outputs(body, name) for name in ("structured_outputs", "guided_decoding")]
    return only_one("structured_outputs", found)


def _sampling(fields: GenerateFields, grammar: Grammar | None, profile: Profile, limits: ServerLimits) -> Sampling:
    sampling = Sampling(
        temperature=_temperature(fields, profile),
        top_k=max(wire.or_default(fields.top_k, 0), 0),
        top_p=wire.or_default(fields.top_p, 1.0),
        typical_p=1.0,
        min_p=wire.or_default(fields.min_p, 0.0),
        repetition_penalty=wire.or_default(fields.repetition_penalty, 1.0),
        presence_penalty=wire.or_default(fields.presence_penalty, 0.0),
        frequency_penalty=wire.or_default(fields.frequency_penalty, 0.0),
        frequency_penalty_is_relative=False,
        logit_bias=wire.token_biases("logit_bias", fields.logit_bias, _MAX_BIAS, limits.max_token_ids),
        allowed_token_ids=_allowed_token_ids(fields, limits),
        banned_sequences=(),
        grammar=grammar,
        watermark=None,
        seed=None if fields.seed == -1 else fields.seed,
    )
    wire.require_between("top_p", sampling.top_p, 0, 1, without_low=True)
    wire.require_between("top_k", wire.or_default(fields.top_k, 0), -1)
    wire.require_between("min_p", sampling.min_p, 0, 1)
    wire.require_between("repetition_penalty", sampling.repetition_penalty, 0, without_low=True)
    wire.require_between("presence_penalty", sampling.presence_penalty, -2, 2)
    wire.require_between("frequency_penalty", sampling.frequency_penalty, -2, 2)
    if fields.seed is not None:
        wire.require_between("seed", fields.seed, _MIN_SEED, _MAX_SEED)
    return sampling


def _temperature(fields: GenerateFields, profile: Profile) -> float:
    given = fields.temperature
    if given is None:
        draws = not profile.is_greedy_by_default or fields.top_p is not None or fields.top_k is not None
        return 1.0 if draws else 0.0
    wire.require_between("temperature", given, 0, profile.max_temperature)
    return 0.0 if given < _GREEDY_BELOW else max(given, _MIN_TEMPERATURE)


def _stopping(fields: GenerateFields, profile: Profile, limits: ServerLimits) -> Stopping:
    max_tokens = wire.or_default(fields.max_tokens, profile.default_max_tokens)
    if max_tokens is not None:
        wire.require_between("max_tokens", max_tokens, 1)
    min_tokens = wire.or_default(fields.min_tokens, 0)
    wire.require_between("min_tokens", min_tokens, 0, max_tokens)
    return Stopping(
        max_tokens=max_tokens,
        clamps_max_tokens=True,
        min_room=1,
        min_tokens=min_tokens,
        stop=wire.stop_strings("stop", fields.stop, limits.max_stop),
        stop_token_ids=wire.token_ids("stop_token_ids", fields.stop_token_ids, limits.max_token_ids),
        ignore_eos=fields.ignore_eos or False,
        include_stop=fields.include_stop_str_in_output or False,
        stop_at_token_end=False,
    )
