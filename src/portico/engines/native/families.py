"""The model families: how each one's config.json and tensor names map to the decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from portico.core.engine import EngineStartError
from portico.engines.native.decoder import DecoderConfig, DecoderWeights


@dataclass(frozen=True, slots=True)
class Family:
    """One architecture name.

    Attributes:
        read_config: from the values of config.json; raises `EngineStartError` for what the decoder cannot do.
        destinations: where each tensor of the checkpoint goes, by name.
        ignored: endings of tensor names that carry nothing needed.
    """

    read_config: Callable[[Mapping[str, Any]], DecoderConfig]
    destinations: Callable[[DecoderConfig, DecoderWeights], dict[str, Tensor]]
    ignored: tuple[str, ...]


def family_of(config: Mapping[str, Any]) -> tuple[str, Family]:
    """The architecture's name and its family.

    Raises:
        EngineStartError: the architecture is not supported.
    """
    names = config.get("architectures") or []
    for name in names:
        if name in FAMILIES:
            return name, FAMILIES[name]
    given = ", ".join(map(str, names)) or "(none given)"
    raise EngineStartError(f"The architecture {given} is not supported; supported are {', '.join(sorted(FAMILIES))}.")


def _read_qwen2(config: Mapping[str, Any]) -> DecoderConfig:
    _refuse(config, "quantization_config", (None,))
    _refuse(config, "use_sliding_window", (None, False))
    _refuse(config, "hidden_act", (None, "silu"))
    hidden_size = _integer(config, "hidden_size")
    num_heads = _integer(config, "num_attention_heads")
    return DecoderConfig(
        vocab_size=_integer(config, "vocab_size"),
        hidden_size=hidden_size,
        num_layers=_integer(config, "num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=_integer(config, "num_key_value_heads", num_heads),
        head_dim=_integer(config, "head_dim", hidden_size // num_heads),
        ffn_size=_integer(config, "intermediate_size"),
        norm_eps=float(config.get("rms_norm_eps", 1e-6)),
        rope_theta=_rope_theta(config),
        max_position=_integer(config, "max_position_embeddings"),
        has_qkv_bias=True,
        has_tied_head=bool(config.get("tie_word_embeddings", False)),
    )


def _qwen2_destinations(config: DecoderConfig, weights: DecoderWeights) -> dict[str, Tensor]:
    head_rows = [config.num_heads * config.head_dim, *[config.num_kv_heads * config.head_dim] * 2]
    places = {"model.embed_tokens.weight": weights.embedding, "model.norm.weight": weights.final_norm}
    if not config.has_tied_head:
        places["lm_head.weight"] = weights.head
    for index, layer in enumerate(weights.layers):
        prefix = f"model.layers.{index}"
        for name, part in zip("qkv", torch.split(layer.qkv, head_rows), strict=True):
            places[f"{prefix}.self_attn.{name}_proj.weight"] = part
        if layer.qkv_bias is not None:
            for name, part in zip("qkv", torch.split(layer.qkv_bias, head_rows), strict=True):
                places[f"{prefix}.self_attn.{name}_proj.bias"] = part
        gate, up = layer.gate_up.chunk(2)
        places |= {
            f"{prefix}.self_attn.o_proj.weight": layer.attention_out,
            f"{prefix}.mlp.gate_proj.weight": gate,
            f"{prefix}.mlp.up_proj.weight": up,
            f"{prefix}.mlp.down_proj.weight": layer.down,
            f"{prefix}.input_layernorm.weight": layer.attention_norm,
            f"{prefix}.post_attention_layernorm.weight": layer.ffn_norm,
        }
    return places


def _integer(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name)
    if value is None:
        value = default
    if not isinstance(value, int) or value < 1:
        raise EngineStartError(f"config.json must give {name} as a positive integer, not {value!r}.")
    return value


def _rope_theta(config: Mapping[str, Any]) -> float:
    """From `rope_parameters` (transformers 5) or from `rope_theta` and `rope_scaling` (before)."""
    parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind != "default":
        raise EngineStartError(f"The rotary embedding scaling {kind} of config.json is not supported.")
    return float(parameters.get("rope_theta", config.get("rope_theta", 10000.0)))


def _refuse(config: Mapping[str, Any], name: str, supported: tuple[Any, ...]) -> None:
    value = config.get(name)
    if value not in supported:
        raise EngineStartError(f"config.json sets {name}, which is not supported: {value!r}.")


FAMILIES = {
    "Qwen2ForCausalLM": Family(_read_qwen2, _qwen2_destinations, ignored=("rotary_emb.inv_freq",)),
}
