"""Named shapes of real models, and what one token costs in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CHECKPOINT_DTYPES = ("bfloat16", "float32")
BYTES_OF_DTYPE = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The dimensions of a decoder of the Qwen2 family."""

    name: str
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    ffn_size: int
    vocab_size: int
    has_tied_head: bool
    max_position: int = 32768
    rope_theta: float = 1e6

    @property
    def head_dim(self) -> int:
        """The width of one attention head."""
        return self.hidden_size // self.num_heads

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of all tensors of a checkpoint."""
        hidden, ffn, kv = self.hidden_size, self.ffn_size, self.num_kv_heads * self.head_dim
        yield "model.embed_tokens.weight", (self.vocab_size, hidden)
        for index in range(self.num_layers):
            layer = f"model.layers.{index}"
            yield f"{layer}.input_layernorm.weight", (hidden,)
            for name, rows in (("q", hidden), ("k", kv), ("v", kv)):
                yield f"{layer}.self_attn.{name}_proj.weight", (rows, hidden)
                yield f"{layer}.self_attn.{name}_proj.bias", (rows,)
            yield f"{layer}.self_attn.o_proj.weight", (hidden, hidden)
            yield f"{layer}.post_attention_layernorm.weight", (hidden,)
            yield f"{layer}.mlp.gate_proj.weight", (ffn, hidden)
            yield f"{layer}.mlp.up_proj.weight", (ffn, hidden)
            yield f"{layer}.mlp.down_proj.weight", (hidden, ffn)
        yield "model.norm.weight", (hidden,)
        if not self.has_tied_head:
            yield "lm_head.weight", (self.vocab_size, hidden)

    @property
    def num_parameters(self) -> int:
        """Parameters of the checkpoint; a tied head is counted once."""
        total = 0
        for _, dimensions in self.tensors():
            size = 1
            for each in dimensions:
                size *= each
            total += size
        return total

    @property
    def num_layer_weights(self) -> int:
        """Weights of the layers' matrices, which every token is multiplied with."""
        hidden, kv = self.hidden_size, self.num_kv_heads * self.head_dim
        return self.num_layers * (2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * self.ffn_size)

    @property
    def num_head_weights(self) -> int:
        """Weights of the output head, which only tokens that are drawn from need."""
        return self.vocab_size * self.hidden_size

    def attention_flops(self, context: float) -> float:
        """Operations of one token's attention to `context` tokens, in all layers."""
        return 4.0 * self.num_layers * self.hidden_size * context

    def kv_bytes(self, context: float, bytes_per_value: int) -> float:
        """Bytes of keys and values of `context` tokens."""
        return 2.0 * self.num_layers * self.num_kv_heads * self.head_dim * context * bytes_per_value

    def config(self, dtype: str) -> dict[str, Any]:
        """The content of config.json; `dtype` is that of the stored weights."""
        return {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.ffn_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.max_position,
            "rope_theta": self.rope_theta,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": self.has_tied_head,
            "use_sliding_window": False,
            "initializer_range": 0.02,
            "bos_token_id": None,
            "eos_token_id": self.vocab_size - 1,
            "dtype": dtype,
        }


_ALL = (
    ModelShape("tiny", 64, 2, 2, 1, 128, 1024, True, max_position=4096),
    ModelShape("demo", 192, 4, 6, 6, 512, 4416, True, max_position=4096),
    ModelShape("qwen1.5-0.5b", 1024, 24, 16, 16, 2816, 151936, True),
    ModelShape("qwen1.5-7b", 4096, 32, 32, 32, 11008, 151936, False),
    ModelShape("qwen1.5-14b", 5120, 40, 40, 40, 13696, 152064, False),
    ModelShape("qwen2.5-0.5b", 896, 24, 14, 2, 4864, 151936, True),
    ModelShape("qwen2.5-1.5b", 1536, 28, 12, 2, 8960, 151936, True),
    ModelShape("qwen2.5-3b", 2048, 36, 16, 2, 11008, 151936, True),
    ModelShape("qwen2.5-7b", 3584, 28, 28, 4, 18944, 152064, False),
    ModelShape("qwen2.5-14b", 5120, 48, 40, 8, 13824, 152064, False),
)
SHAPES = {shape.name: shape for shape in _ALL}
