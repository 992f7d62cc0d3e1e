"""The fields of both generating routes that say how tokens are drawn and when they end.

Source: OpenAI API reference, "Create chat completion" and "Create completion"; from `top_k` on, what open servers add.
"""

from __future__ import annotations

from portico.core.errors import InvalidParameter
from portico.core.grammar import Grammar
from portico.core.model import SamplingDefaults, ServerLimits
from portico.core.request import Sampling, Stopping, Truncation
from portico.dialects import wire
from portico.dialects.openai.schema import SamplingFields

_MAX_BIAS = 100
_MIN_SEED, _MAX_SEED = -(2**63), 2**63 - 1


def decode_sampling(
    fields: SamplingFields, grammar: Grammar | None, limits: ServerLimits, defaults: SamplingDefaults
) -> Sampling:
    """How tokens are drawn; `grammar` is what the route asks for.

    Raises:
        InvalidParameter: a value out of its range.
    """
    top_k = _first(fields.top_k, defaults.top_k, 0)
    sampling = Sampling(
        temperature=_first(fields.temperature, defaults.temperature, 1.0),
        top_k=max(int(top_k), 0),
        top_p=_first(fields.top_p, defaults.top_p, 1.0),
        typical_p=1.0,
        min_p=_first(fields.min_p, defaults.min_p, 0.0),
        repetition_penalty=_first(fields.repetition_penalty, defaults.repetition_penalty, 1.0),
        presence_penalty=wire.or_default(fields.presence_penalty, 0.0),
        frequency_penalty=wire.or_default(fields.frequency_penalty, 0.0),
        frequency_penalty_is_relative=False,
        logit_bias=wire.token_biases("logit_bias", fields.logit_bias, _MAX_BIAS, limits.max_token_ids),
        allowed_token_ids=_allowed_token_ids(fields, limits),
        banned_sequences=(),
        grammar=grammar,
        watermark=None,
        seed=fields.seed,
    )
    wire.require_between("temperature", sampling.temperature, 0, 2)
    wire.require_between("top_p", sampling.top_p, 0, 1, without_low=True)
    wire.require_between("top_k", top_k, -1)
    wire.require_between("min_p", sampling.min_p, 0, 1)
    wire.require_between("repetition_penalty", sampling.repetition_penalty, 0, without_low=True)
    wire.require_between("presence_penalty", sampling.presence_penalty, -2, 2)
    wire.require_between("frequency_penalty", sampling.frequency_penalty, -2, 2)
    if fields.seed is not None:
        wire.require_between("seed", fields.seed, _MIN_SEED, _MAX_SEED)
    return sampling


def decode_stopping(
    fields: SamplingFields, max_tokens: int | None, limits: ServerLimits, defaults: SamplingDefaults
) -> Stopping:
    """When the output ends; `max_tokens` is what the route asks for.

    Raises:
        InvalidParameter: a value out of its range.
    """
    min_tokens = wire.or_default(fields.min_tokens, 0)
    wire.require_between("min_tokens", min_tokens, 0, max_tokens)
    bounds = [each for each in (max_tokens, defaults.max_tokens) if each is not None]
    return Stopping(
        max_tokens=min(bounds, default=None),
        clamps_max_tokens=True,
        min_room=1,
        min_tokens=min_tokens,
        stop=wire.stop_strings("stop", fields.stop, limits.max_stop),
        stop_token_ids=wire.token_ids("stop_token_ids", fields.stop_token_ids, limits.max_token_ids),
        ignore_eos=fields.ignore_eos or False,
        include_stop=fields.include_stop_str_in_output or False,
        stop_at_token_end=False,
    )


def decode_truncation(fields: SamplingFields) -> Truncation | None:
    """How the prompt is cut: -1 is to what fits the context with one token of output.

    Raises:
        InvalidParameter: a length of zero or less than -1.
    """
    num_tokens = fields.truncate_prompt_tokens
    if num_tokens is None:
        return None
    if num_tokens != -1:
        wire.require_between("truncate_prompt_tokens", num_tokens, 1)
    return Truncation(None if num_tokens == -1 else num_tokens, keeps_start=fields.truncation_side == "right")


def decode_bad_words(fields: SamplingFields) -> tuple[str, ...]:
    """Texts that the output must not hold.

    Raises:
        InvalidParameter: too many of them, or an empty one.
    """
    return wire.banned_words("bad_words", fields.bad_words)


def _allowed_token_ids(fields: SamplingFields, limits: ServerLimits) -> tuple[int, ...] | None:
    if fields.allowed_token_ids is None:
        return None
    if not fields.allowed_token_ids:
        raise InvalidParameter("allowed_token_ids", "`allowed_token_ids` must not be empty.")
    return wire.token_ids("allowed_token_ids", fields.allowed_token_ids, limits.max_token_ids)


def _first(given: float | None, default: float | None, neutral: float) -> float:
    return next(each for each in (given, default, neutral) if each is not None)
