"""Writes a Qwen2 checkpoint with a synthetic tokenizer as GGUF, matrices in Q8_0: `gguf_convert.py FROM TO`.

Runs in the environment of llama.cpp, which has the `gguf` package.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf

sys.path.insert(0, str(Path(__file__).parents[3]))

from benchmarks.peers.safetensors_reader import read_tensors

_PLACES = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.q_proj.bias": "attn_q.bias",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.k_proj.bias": "attn_k.bias",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.v_proj.bias": "attn_v.bias",
    "self_attn.o_proj.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}
_OTHERS = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def main() -> None:
    """Converts."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    writer = gguf.GGUFWriter(target, "qwen2")
    _add_shape(writer, json.loads((source / "config.json").read_text()))
    _add_tokenizer(writer, json.loads((source / "tokenizer.json").read_text()))
    q8_0 = gguf.GGMLQuantizationType.Q8_0
    for name, values in read_tensors(source / "model.safetensors"):
        if values.ndim == 1:
            writer.add_tensor(_place(name), values.copy())
        else:
            writer.add_tensor(_place(name), gguf.quants.quantize(values, q8_0), raw_dtype=q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _place(name: str) -> str:
    if name in _OTHERS:
        return _OTHERS[name]
    _, _, index, rest = name.split(".", 3)
    return f"blk.{index}.{_PLACES[rest]}"


def _add_shape(writer: Any, config: dict[str, Any]) -> None:
    writer.add_name("random")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def _add_tokenizer(writer: Any, tokenizer: dict[str, Any]) -> None:
    tokens = {index: token for token, index in tokenizer["model"]["vocab"].items()}
    control = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    tokens |= control
    ids = sorted(tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([tokens[index] for index in ids])
    writer.add_token_types([gguf.TokenType.CONTROL if index in control else gguf.TokenType.NORMAL for index in ids])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(ids[-1])
    writer.add_add_bos_token(False)


if __name__ == "__main__":
    main()
