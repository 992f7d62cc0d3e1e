"""Values of config.json, checked as they are read; what cannot be honoured is refused with a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from portico.core.engine import EngineStartError
from portico.engines.native.rope import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    RopeConfig,
    Scaling,
    YarnScaling,
)

Values = Mapping[str, Any]

# Sizes of models are far below.
_MAX_INTEGER = 2**31 - 1


def integer(config: Values, name: str, default: int | None = None) -> int:
    """A positive integer.

    Raises:
        EngineStartError: it is none, or missing without a default.
    """
    value = config.get(name)
    if value is None:
        value = default
    if type(value) is not int or value < 1:
        raise EngineStartError(f"config.json must give {name} as a positive integer, not {value!r}.")
    if value > _MAX_INTEGER:
        raise EngineStartError(f"config.json must give {name} as an integer of at most {_MAX_INTEGER}, not {value}.")
    return value


def number(config: Values, name: str, default: float | None = None) -> float:
    """A positive number.

    Raises:
        EngineStartError: it is none, or missing without a default.
    """
    value = config.get(name)
    if value is None:
        value = default
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise EngineStartError(f"config.json must give {name} as a positive number, not {value!r}.")
    return float(value)


def refuse_others(config: Values, name: str, *supported: Any) -> None:
    """Accepts some values of a setting, or its absence.

    Raises:
        EngineStartError: it is something else.
    """
    value = config.get(name)
    if value is not None and value not in supported:
        raise EngineStartError(f"config.json sets {name}, which is not supported: {value!r}.")


def rope(config: Values) -> tuple[RopeConfig, int]:
    """The rotary embedding, and the tokens that it reaches over.

    It is in `rope_parameters` (transformers 5), or in `rope_theta` and `rope_scaling` (before).

    Raises:
        EngineStartError: a scaling that is not known, or not complete.
    """
    parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(parameters, Mapping):
        raise EngineStartError(f"config.json must give the rotary scaling as an object, not {parameters!r}.")
    refuse_others(config, "partial_rotary_factor", 1)
    refuse_others(parameters, "partial_rotary_factor", 1)
    max_position = integer(config, "max_position_embeddings")
    scaling, length = _scaling(parameters, max_position)
    theta = parameters.get("rope_theta", config.get("rope_theta"))
    return RopeConfig(number({"rope_theta": theta}, "rope_theta", 10000.0), scaling), length


def _scaling(parameters: Values, max_position: int) -> tuple[Scaling | None, int]:
    """The scaling, and how long contexts become; for `dynamic` and `linear` the model's own length is the original."""
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind == "default":
        return None, max_position
    if kind not in ("linear", "dynamic", "llama3", "yarn"):
        raise EngineStartError(f"The rotary embedding scaling {kind} of config.json is not supported.")
    original = integer(parameters, "original_max_position_embeddings", max_position)
    if kind == "yarn":
        yarn = _yarn(parameters, max_position, original)
        return yarn, _scaled(original, yarn.factor)
    factor = number(parameters, "factor")
    if kind == "linear":
        return LinearScaling(factor), _scaled(max_position, factor)
    if kind == "dynamic":
        return DynamicScaling(factor, max_position), _scaled(max_position, factor)
    low, high = number(parameters, "low_freq_factor"), number(parameters, "high_freq_factor")
    if low >= high:
        raise EngineStartError("config.json must give low_freq_factor below high_freq_factor.")
    return Llama3Scaling(factor, low, high, original), max_position


def _scaled(length: int, factor: float) -> int:
    return int(min(length * factor, _MAX_INTEGER))


def _yarn(parameters: Values, max_position: int, original: int) -> YarnScaling:
    factor = number(parameters, "factor", max_position / original)
    if parameters.get("mscale") and parameters.get("mscale_all_dim"):
        usual = _magnitude(factor, number(parameters, "mscale"))
        usual /= _magnitude(factor, number(parameters, "mscale_all_dim"))
    else:
        usual = _magnitude(factor, 1.0)
    return YarnScaling(
        factor,
        attention_factor=number(parameters, "attention_factor", usual),
        beta_fast=number(parameters, "beta_fast", 32.0),
        beta_slow=number(parameters, "beta_slow", 1.0),
        original_length=original,
        rounds_range=bool(parameters.get("truncate", True)),
    )


def _magnitude(factor: float, scale: float) -> float:
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0
