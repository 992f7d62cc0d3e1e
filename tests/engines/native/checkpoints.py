"""Tiny random checkpoints of families that transformers does not have, in the file formats that they come in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

Tensors = dict[str, Tensor]

QWEN_CONFIG: Mapping[str, Any] = {
    "architectures": ["QWenLMHeadModel"],
    "model_type": "qwen",
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "kv_channels": 16,
    "seq_length": 256,
    "max_position_embeddings": 256,
    "layer_norm_epsilon": 1e-6,
    "rotary_emb_base": 10000,
    "rotary_pct": 1.0,
    "no_bias": True,
    "scale_attn_weights": True,
    "tie_word_embeddings": False,
    "use_dynamic_ntk": False,
    "use_logn_attn": False,
}
BAICHUAN_CONFIG: Mapping[str, Any] = {
    "architectures": ["BaichuanForCausalLM"],
    "model_type": "baichuan",
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 256,
    "model_max_length": 256,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
BAICHUAN_13B_CONFIG: Mapping[str, Any] = {
    name: value for name, value in BAICHUAN_CONFIG.items() if name != "max_position_embeddings"
}


def qwen_tensors(config: Mapping[str, Any]) -> Tensors:
    """Weights of a `QWenLMHeadModel`, by their names."""
    hidden, width = config["hidden_size"], config["intermediate_size"] // 2
    attention = config["kv_channels"] * config["num_attention_heads"]
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (config["vocab_size"], hidden),
        "transformer.ln_f.weight": (hidden,),
        "lm_head.weight": (config["vocab_size"], hidden),
    }
    for layer in range(config["num_hidden_layers"]):
        own = {
            "ln_1.weight": (hidden,),
            "attn.c_attn.weight": (3 * attention, hidden),
            "attn.c_attn.bias": (3 * attention,),
            "attn.c_proj.weight": (hidden, attention),
            "ln_2.weight": (hidden,),
            "mlp.w1.weight": (width, hidden),
            "mlp.w2.weight": (width, hidden),
            "mlp.c_proj.weight": (hidden, width),
        }
        shapes |= {f"transformer.h.{layer}.{name}": shape for name, shape in own.items()}
    return _random(shapes)


def baichuan_tensors(config: Mapping[str, Any]) -> Tensors:
    """Weights of a `BaichuanForCausalLM`, by their names."""
    hidden, width = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
        "lm_head.weight": (config["vocab_size"], hidden),
    }
    for layer in range(config["num_hidden_layers"]):
        own = {
            "input_layernorm.weight": (hidden,),
            "self_attn.W_pack.weight": (3 * hidden, hidden),
            "self_attn.o_proj.weight": (hidden, hidden),
            "post_attention_layernorm.weight": (hidden,),
            "mlp.gate_proj.weight": (width, hidden),
            "mlp.up_proj.weight": (width, hidden),
            "mlp.down_proj.weight": (hidden, width),
        }
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in own.items()}
    return _random(shapes)


def write_files(
    path: Path, config: Mapping[str, Any], tensors: Tensors, as_pickle: bool = False, num_shards: int = 1
) -> Path:
    """Writes config.json and the weights into a directory, made if need be."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(dict(config)))
    stem, ending = ("pytorch_model", "bin") if as_pickle else ("model", "safetensors")
    names = [f"{stem}.{ending}"]
    if num_shards > 1:
        names = [f"{stem}-{number:05}-of-{num_shards:05}.{ending}" for number in range(1, num_shards + 1)]
    weight_map: dict[str, str] = {}
    for number, name in enumerate(names):
        shard = {key: tensors[key] for key in list(tensors)[number::num_shards]}
        weight_map |= dict.fromkeys(shard, name)
        if as_pickle:
            torch.save(shard, path / name)
        else:
            save_file(shard, path / name)
    if num_shards > 1:
        (path / f"{stem}.{ending}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return path


def _random(shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
    """Weights large enough for varied greedy text."""
    generator = torch.Generator().manual_seed(11)
    tensors = {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes.items()}
    # Norm weights are around one.
    return {name: value + 1 if value.dim() == 1 and "bias" not in name else value for name, value in tensors.items()}
