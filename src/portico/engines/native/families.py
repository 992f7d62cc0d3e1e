"""The model families: how each one's config.json and tensor names map to the decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from portico.core.engine import EngineStartError
from portico.engines.native.config_values import Values, integer, number, refuse_others, rope
from portico.engines.native.decoder import DecoderConfig, DecoderWeights
from portico.engines.native.rope import PromptScaling, RopeConfig


@dataclass(frozen=True, slots=True)
class TensorNames:
    """What a family calls its tensors; those of a layer stand behind `layer`, which has the layer's number in it.

    Attributes:
        qkv: the query, key and value projections, or one name if the checkpoint has them as one.
    """

    embedding: str = "model.embed_tokens"
    final_norm: str = "model.norm"
    layer: str = "model.layers.{}."
    attention_norm: str = "input_layernorm"
    qkv: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    q_norm: str = "self_attn.q_norm"
    k_norm: str = "self_attn.k_norm"
    attention_out: str = "self_attn.o_proj"
    ffn_norm: str = "post_attention_layernorm"
    gate: str = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    down: str = "mlp.down_proj"


@dataclass(frozen=True, slots=True)
class Family:
    """One architecture name.

    Attributes:
        read_config: from the values of config.json; raises `EngineStartError` for what the decoder cannot do.
        names: of its tensors.
        end_ids: tokens that end a text although no file of the checkpoint says so.
    """

    read_config: Callable[[Values], DecoderConfig]
    names: TensorNames = TensorNames()
    end_ids: tuple[int, ...] = ()

    def destinations(self, config: DecoderConfig, weights: DecoderWeights) -> dict[str, Tensor]:
        """Where each tensor of the checkpoint goes, by name."""
        names = self.names
        places = {f"{names.embedding}.weight": weights.embedding, f"{names.final_norm}.weight": weights.final_norm}
        if not config.has_tied_head:
            places["lm_head.weight"] = weights.head
        query, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        rows = [query, kv, kv] if len(names.qkv) == 3 else [query + 2 * kv]
        for index, layer in enumerate(weights.layers):
            gate, up = layer.gate_up.chunk(2)
            own = {
                f"{names.attention_norm}.weight": layer.attention_norm,
                f"{names.attention_out}.weight": layer.attention_out,
                f"{names.ffn_norm}.weight": layer.ffn_norm,
                f"{names.gate}.weight": gate,
                f"{names.up}.weight": up,
                f"{names.down}.weight": layer.down,
            }
            own |= zip((f"{name}.weight" for name in names.qkv), torch.split(layer.qkv, rows), strict=True)
            if layer.qkv_bias is not None:
                own |= zip((f"{name}.bias" for name in names.qkv), torch.split(layer.qkv_bias, rows), strict=True)
            if layer.q_norm is not None and layer.k_norm is not None:
                own |= {f"{names.q_norm}.weight": layer.q_norm, f"{names.k_norm}.weight": layer.k_norm}
            places |= {names.layer.format(index) + name: place for name, place in own.items()}
        return places


# Buffers that some checkpoints have among their weights; they follow from config.json.
IGNORED_ENDINGS = ("rotary_emb.inv_freq", "attn.masked_bias", "attn.bias", "attn.logn_tensor", "future_mask")


def family_of(config: Values) -> tuple[str, Family]:
    """The architecture's name and its family.

    Raises:
        EngineStartError: the architecture is not supported.
    """
    names = config.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise EngineStartError(f"config.json must give architectures as a list of names, not {names!r}.")
    for name in names:
        if name in FAMILIES:
            return name, FAMILIES[name]
    given = ", ".join(map(str, names)) or "(none given)"
    raise EngineStartError(f"The architecture {given} is not supported; supported are {', '.join(sorted(FAMILIES))}.")


def _read_llama(config: Values) -> DecoderConfig:
    """What Llama, Mistral, Qwen2 and Qwen3 share."""
    refuse_others(config, "attention_bias", False)
    refuse_others(config, "mlp_bias", False)
    rope_config, length = rope(config)
    return _read_sizes(config, rope_config, _within_window(config, length))


def _read_mistral(config: Values) -> DecoderConfig:
    return _read_llama({"use_sliding_window": True, **config})


def _read_qwen2(config: Values) -> DecoderConfig:
    # Its projections have biases whatever its configuration says of them.
    return replace(_read_llama({**config, "attention_bias": None}), has_qkv_bias=True)


def _read_qwen3(config: Values) -> DecoderConfig:
    return replace(_read_llama({"head_dim": 128, **config}), has_qk_norm=True)


def _read_baichuan(config: Values) -> DecoderConfig:
    """Both generations and sizes go by one name; their `modeling_baichuan.py` differ.

    The code for 13B (hidden size 5120) has ALiBi, that for 7B (4096) has RoPE, and its configuration alone has
    `max_position_embeddings`. The second generation, whose vocabulary is not 64000, normalises the head.
    """
    has_alibi = config.get("hidden_size") == 5120 or "max_position_embeddings" not in config
    if has_alibi:
        sizes = _read_sizes(config, None, integer(config, "model_max_length"))
    else:
        rope_config, length = rope(config)
        sizes = _read_sizes(config, rope_config, length)
    return replace(sizes, has_normalised_head=sizes.vocab_size != _BAICHUAN_1_VOCABULARY)


def _read_baichuan_7b(config: Values) -> DecoderConfig:
    """The first model of the family, which has a name of its own."""
    rope_config, length = rope(config)
    return _read_sizes(config, rope_config, length)


def _read_qwen(config: Values) -> DecoderConfig:
    """Qwen v1, after `modeling_qwen.py` of Qwen/Qwen-7B."""
    refuse_others(config, "no_bias", True)
    refuse_others(config, "rotary_pct", 1)
    refuse_others(config, "scale_attn_weights", True)
    length = integer(config, "seq_length")
    has_dynamic_base = bool(config.get("use_dynamic_ntk", False))
    renamed = {
        **config,
        "head_dim": config.get("kv_channels"),
        # Gate and up projections share the width that is given.
        "intermediate_size": integer(config, "intermediate_size") // 2,
        "rms_norm_eps": number(config, "layer_norm_epsilon", 1e-6),
    }
    theta = number(config, "rotary_emb_base", 10000.0)
    max_position = integer(config, "max_position_embeddings", length)
    sizes = _read_sizes(
        renamed,
        RopeConfig(theta, PromptScaling(length) if has_dynamic_base else None),
        max_position if has_dynamic_base else min(length, max_position),
    )
    return replace(sizes, has_qkv_bias=True, logn_length=length if config.get("use_logn_attn", False) else None)


def _read_sizes(config: Values, rope_config: RopeConfig | None, max_position: int) -> DecoderConfig:
    refuse_others(config, "quantization_config")
    refuse_others(config, "hidden_act", "silu")
    hidden_size = integer(config, "hidden_size")
    num_heads = integer(config, "num_attention_heads")
    num_kv_heads = integer(config, "num_key_value_heads", num_heads)
    head_dim = integer(config, "head_dim", hidden_size // num_heads)
    if num_heads % num_kv_heads:
        raise EngineStartError(
            f"config.json must give num_attention_heads ({num_heads}) as a multiple of num_key_value_heads "
            f"({num_kv_heads})."
        )
    if head_dim % 2:
        raise EngineStartError(f"config.json must give heads of an even size, not {head_dim}.")
    return DecoderConfig(
        vocab_size=integer(config, "vocab_size"),
        hidden_size=hidden_size,
        num_layers=integer(config, "num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        ffn_size=integer(config, "intermediate_size"),
        norm_eps=number(config, "rms_norm_eps", 1e-6),
        max_position=max_position,
        rope=rope_config,
        has_tied_head=bool(config.get("tie_word_embeddings", False)),
    )


def _within_window(config: Values, length: int) -> int:
    """The length within which attention over a sliding window is full attention, which is all that there is here."""
    if not config.get("use_sliding_window") or config.get("sliding_window") is None:
        return length
    return min(length, integer(config, "sliding_window"))


_BAICHUAN_1_VOCABULARY = 64_000
_PACKED = TensorNames(qkv=("self_attn.W_pack",))
_QWEN = TensorNames(
    embedding="transformer.wte",
    final_norm="transformer.ln_f",
    layer="transformer.h.{}.",
    attention_norm="ln_1",
    qkv=("attn.c_attn",),
    attention_out="attn.c_proj",
    ffn_norm="ln_2",
    # The second of the two is the one behind the activation.
    gate="mlp.w2",
    up="mlp.w1",
    down="mlp.c_proj",
)
# <|endoftext|>, <|im_start|> and <|im_end|>, at which `get_stop_words_ids` of Qwen's own code stops.
_QWEN_END_IDS = (151_643, 151_644, 151_645)

FAMILIES = {
    "BaiChuanForCausalLM": Family(_read_baichuan_7b, _PACKED),
    "BaichuanForCausalLM": Family(_read_baichuan, _PACKED),
    "LlamaForCausalLM": Family(_read_llama),
    "MistralForCausalLM": Family(_read_mistral),
    "QWenLMHeadModel": Family(_read_qwen, _QWEN, _QWEN_END_IDS),
    "Qwen2ForCausalLM": Family(_read_qwen2),
    "Qwen3ForCausalLM": Family(_read_qwen3),
}
