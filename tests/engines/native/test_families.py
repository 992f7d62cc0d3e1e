"""Every family of checkpoints against somebody else's code, in float32, on tiny random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from portico.core.engine import EngineStartError
from portico.engines.native import startup
from portico.engines.native.attention import KVCache, alibi_slopes
from portico.engines.native.config import NativeConfig
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.loader import read_checkpoint
from portico.engines.native.startup import build
from tests.engines.native import references
from tests.engines.native.checkpoints import (
    BAICHUAN_13B_CONFIG,
    BAICHUAN_CONFIG,
    QWEN_CONFIG,
    Tensors,
    baichuan_tensors,
    qwen_tensors,
    write_files,
)
from tests.engines.native.core_driver import run_to_end
from tests.engines.native.jobs import job
from tests.engines.native.kernels.variants import find_variant
from tests.engines.native.logits import check_logprobs, transformers_logits

CLASSES: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 32}
BAICHUAN_40_HEADS = {**BAICHUAN_13B_CONFIG, "hidden_size": 5120, "num_attention_heads": 40}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("llama", {"num_key_value_heads": 4, "tie_word_embeddings": True, "head_dim": 32}),
    ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5}}),
    ("llama", {"rope_parameters": LLAMA3}),
    (
        "llama",
        {
            "max_position_embeddings": 32,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0},
        },
    ),
    ("llama", {"max_position_embeddings": 128, "rope_parameters": YARN}),
    ("llama", {"rope_parameters": {**YARN, "mscale": 1.5, "mscale_all_dim": 0.7, "beta_fast": 16, "truncate": False}}),
    ("llama", {"rope_parameters": {**YARN, "attention_factor": 1.3, "beta_slow": 2}}),
    ("mistral", {"sliding_window": None}),
    ("mistral", {"sliding_window": 100, "head_dim": 24}),
    ("qwen2", {"rope_parameters": YARN}),
    ("qwen3", {"head_dim": 32}),
    ("qwen3", {"head_dim": 16, "tie_word_embeddings": True, "rope_parameters": YARN}),
]


_WAYS = ["amx", "amx-chunks", "avx512", "avx512-chunks", "avxvnni-chunks", "avx2-chunks", "torch-chunks"]


@pytest.fixture(params=_WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings: what computes, and the prompt at once or in chunks."""
    name, _, chunks = request.param.partition("-")
    settings: dict[str, Any] = {"max_num_batched_tokens": 32 if chunks else 2048}
    if name == "torch":
        return {**settings, "kernels": "torch"}
    library = find_variant(name)
    if library is None:
        pytest.skip(f"no {name} kernels on this machine")
    monkeypatch.setattr(startup, "load", lambda _: library)
    return {**settings, "kernels": "own"}


def write_transformers(path: Path, name: str, **changes: Any) -> Path:
    """A random checkpoint of a model that transformers has; norms are not all ones."""
    settings: dict[str, Any] = {
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,
        "initializer_range": 0.3,
        "eos_token_id": 3,
        "pad_token_id": None,
        "bos_token_id": None,
    }
    torch.manual_seed(7)
    config_class, model_class = CLASSES[name]
    model = model_class(config_class(**(settings | changes)))
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.1)
    model.save_pretrained(path)
    return path


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_transformers_says_the_same(tmp_path: Path, name: str, changes: dict[str, Any], way: dict[str, Any]) -> None:
    write_transformers(tmp_path, name, **changes)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    check_logprobs(tmp_path, transformers_logits(model), **way)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kv_channels": 24, "rotary_emb_base": 1000000, "layer_norm_epsilon": 1e-3},
        {"seq_length": 30, "use_dynamic_ntk": True, "use_logn_attn": True},
        {"seq_length": 80, "use_dynamic_ntk": True},
    ],
)
def test_qwen_v1(tmp_path: Path, changes: dict[str, Any], way: dict[str, Any]) -> None:
    config = {**QWEN_CONFIG, **changes}
    tensors = qwen_tensors(config)
    write_files(tmp_path, config, tensors)
    check_logprobs(
        tmp_path,
        lambda token_ids, num: references.qwen_logits(config, tensors, token_ids, num),
        **way,
    )


@pytest.mark.parametrize(
    ("base", "changes", "has_alibi", "normalises_head"),
    [
        (BAICHUAN_CONFIG, {}, False, True),
        (BAICHUAN_13B_CONFIG, {}, True, True),
        (BAICHUAN_13B_CONFIG, {"num_attention_heads": 6, "hidden_size": 96}, True, True),
        (BAICHUAN_CONFIG, {"architectures": ["BaiChuanForCausalLM"]}, False, False),
    ],
    ids=["2-7B", "2-13B", "2-13B-six-heads", "7B"],
)
def test_baichuan(
    tmp_path: Path,
    base: dict[str, Any],
    changes: dict[str, Any],
    has_alibi: bool,
    normalises_head: bool,
    way: dict[str, Any],
) -> None:
    config = {**base, **changes}
    tensors = baichuan_tensors(config)
    write_files(tmp_path, config, tensors, as_pickle=True)
    check_logprobs(
        tmp_path,
        lambda token_ids, _: references.baichuan_logits(config, tensors, token_ids, has_alibi, normalises_head),
        **way,
    )


def write_any(path: Path, name: str) -> Path:
    """A checkpoint of a kind whose attention differs from the usual."""
    if name == "alibi":
        return write_files(path, BAICHUAN_13B_CONFIG, baichuan_tensors(BAICHUAN_13B_CONFIG))
    if name == "qwen-v1":
        config = {**QWEN_CONFIG, "seq_length": 30, "use_dynamic_ntk": True, "use_logn_attn": True}
        return write_files(path, config, qwen_tensors(config))
    if name == "dynamic":
        scaling = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 8.0}
        return write_transformers(path, "llama", max_position_embeddings=32, rope_parameters=scaling)
    return write_transformers(path, "qwen3", head_dim=32)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["alibi", "qwen-v1", "dynamic", "qwen3"])
def test_neighbours_and_preemption_change_nothing(
    tmp_path: Path, prompts: list[tuple[int, ...]], name: str, dtype: str
) -> None:
    path = write_any(tmp_path, name)
    jobs = [job(prompt, max_tokens=30, logprobs=2) for prompt in prompts[:8]]

    def core(**settings: Any) -> EngineCore:
        return build(path, NativeConfig(dtype=dtype, num_threads=1, device="cpu", **settings), lambda _: None)[0]

    alone = [run_to_end(core(), [each])[0] for each in jobs]
    together = run_to_end(core(), jobs)
    for one, other in zip(alone, together, strict=True):
        assert one.token_ids == other.token_ids
        assert one.logprobs == other.logprobs
    if dtype == "bfloat16":
        return
    # Room for about three of them: the others are preempted, and their beginnings evaluated again as prompts.
    sizes = read_checkpoint(path).config
    memory = 400 * KVCache.bytes_per_token(sizes.num_layers, sizes.num_kv_heads, sizes.head_dim, torch.float32)
    crowded = core(kv_cache_memory=memory, max_model_len=200)
    outcomes = run_to_end(crowded, jobs)
    assert crowded._scheduler.num_preemptions > 0
    assert [outcome.token_ids for outcome in outcomes] == [outcome.token_ids for outcome in alone]


def test_a_qwen_v1_checkpoint_is_a_qwen2_checkpoint_renamed(tmp_path: Path) -> None:
    write_files(tmp_path / "qwen", QWEN_CONFIG, tensors := qwen_tensors(QWEN_CONFIG))
    renamed: Tensors = {
        "model.embed_tokens.weight": tensors["transformer.wte.weight"],
        "model.norm.weight": tensors["transformer.ln_f.weight"],
        "lm_head.weight": tensors["lm_head.weight"],
    }
    for layer in range(2):
        old, new = f"transformer.h.{layer}.", f"model.layers.{layer}."
        for kind in ("weight", "bias"):
            parts = tensors[f"{old}attn.c_attn.{kind}"].chunk(3)
            renamed |= {f"{new}self_attn.{name}_proj.{kind}": part for name, part in zip("qkv", parts, strict=True)}
        for before, after in (
            ("ln_1", "input_layernorm"),
            ("attn.c_proj", "self_attn.o_proj"),
            ("ln_2", "post_attention_layernorm"),
            ("mlp.w1", "mlp.up_proj"),
            ("mlp.w2", "mlp.gate_proj"),
            ("mlp.c_proj", "mlp.down_proj"),
        ):
            renamed[f"{new}{after}.weight"] = tensors[f"{old}{before}.weight"]
    _check_equivalent(tmp_path, "qwen", "Qwen2ForCausalLM", "qwen2", renamed)


def test_a_baichuan2_checkpoint_is_a_llama_checkpoint_split(tmp_path: Path) -> None:
    write_files(tmp_path / "baichuan", BAICHUAN_CONFIG, tensors := baichuan_tensors(BAICHUAN_CONFIG), num_shards=2)
    split: Tensors = {}
    for name, value in tensors.items():
        if "W_pack" in name:
            parts = zip("qkv", value.chunk(3), strict=True)
            split |= {name.replace("W_pack", f"{letter}_proj"): part for letter, part in parts}
        else:
            split[name] = torch.nn.functional.normalize(value) if name == "lm_head.weight" else value
    _check_equivalent(tmp_path, "baichuan", "LlamaForCausalLM", "llama", split)


def _check_equivalent(path: Path, name: str, architecture: str, model_type: str, tensors: Tensors) -> None:
    config = {
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    }
    write_files(path / "known", config, {key: value.contiguous() for key, value in tensors.items()})
    model = AutoModelForCausalLM.from_pretrained(path / "known", dtype=torch.float32)
    check_logprobs(path / name, transformers_logits(model))


@pytest.mark.parametrize("num_heads", [1, 2, 8, 12, 40, 64])
def test_slopes_are_those_of_the_papers_code(num_heads: int) -> None:
    assert alibi_slopes(num_heads) == pytest.approx(references.alibi_slopes(num_heads))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({**BAICHUAN_CONFIG, "vocab_size": 125_696, "hidden_size": 4096}, (True, True, 256)),
        (
            {**BAICHUAN_13B_CONFIG, "vocab_size": 125_696, "hidden_size": 5120, "num_attention_heads": 40},
            (False, True, 256),
        ),
        (
            {**BAICHUAN_13B_CONFIG, "vocab_size": 64_000, "hidden_size": 5120, "num_attention_heads": 40},
            (False, False, 256),
        ),
        ({**BAICHUAN_CONFIG, "architectures": ["BaiChuanForCausalLM"], "vocab_size": 64_000}, (True, False, 256)),
        ({**QWEN_CONFIG, "seq_length": 100}, (True, False, 100)),
        ({**QWEN_CONFIG, "seq_length": 100, "use_dynamic_ntk": True}, (True, False, 256)),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, (True, False, 1024)),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, (True, False, 512)),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, (True, False, 1024)),
        ({"rope_scaling": LLAMA3}, (True, False, 256)),
        ({"rope_scaling": {**YARN, "original_max_position_embeddings": 100}}, (True, False, 400)),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": 77}, (True, False, 77)),
        ({"architectures": ["Qwen2ForCausalLM"], "sliding_window": 77}, (True, False, 256)),
        ({"architectures": ["Qwen2ForCausalLM"], "sliding_window": 77, "use_sliding_window": True}, (True, False, 77)),
    ],
)
def test_switches_follow_from_the_configuration(
    tmp_path: Path, config: dict[str, Any], expected: tuple[bool, bool, int]
) -> None:
    """Rotary embedding or not, normalised head or not, length of contexts."""
    llama = {key: value for key, value in BAICHUAN_CONFIG.items() if key != "model_max_length"}
    complete = {**llama, "architectures": ["LlamaForCausalLM"], **config} if len(config) < 5 else config
    (tmp_path / "config.json").write_text(json.dumps(complete))
    sizes = read_checkpoint(tmp_path).config
    assert (sizes.rope is not None, sizes.has_normalised_head, sizes.max_position) == expected


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (BAICHUAN_CONFIG, {"architectures": ["LlamaForCausalLM"], "attention_bias": True}, "sets attention_bias"),
        (BAICHUAN_CONFIG, {"architectures": ["LlamaForCausalLM"], "mlp_bias": True}, "sets mlp_bias"),
        (BAICHUAN_CONFIG, {"num_key_value_heads": 3}, r"num_attention_heads \(4\) as a multiple of .* \(3\)"),
        (BAICHUAN_CONFIG, {"num_attention_heads": 64}, "heads of an even size, not 1"),
        (BAICHUAN_CONFIG, {"hidden_act": "gelu"}, "sets hidden_act"),
        (BAICHUAN_CONFIG, {"rms_norm_eps": "x"}, "rms_norm_eps as a positive number, not 'x'"),
        (BAICHUAN_CONFIG, {"partial_rotary_factor": 0.5}, "sets partial_rotary_factor"),
        (BAICHUAN_CONFIG, {"rope_scaling": {"type": "longrope"}}, "scaling longrope .* is not supported"),
        (BAICHUAN_CONFIG, {"rope_scaling": {"type": "linear"}}, "factor as a positive number, not None"),
        (BAICHUAN_CONFIG, {"rope_scaling": "linear"}, "scaling as an object, not 'linear'"),
        (BAICHUAN_CONFIG, {"rope_scaling": {**LLAMA3, "low_freq_factor": 4.0}}, "low_freq_factor below"),
        (BAICHUAN_13B_CONFIG, {"model_max_length": None}, "model_max_length as a positive integer, not None"),
        (QWEN_CONFIG, {"no_bias": False}, "sets no_bias"),
        (QWEN_CONFIG, {"rotary_pct": 0.5}, "sets rotary_pct"),
        (QWEN_CONFIG, {"seq_length": None}, "seq_length as a positive integer, not None"),
    ],
)
def test_what_the_decoder_cannot_do_is_refused(
    tmp_path: Path, base: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**base, **changes}))
    with pytest.raises(EngineStartError, match=message) as caught:
        read_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_qwen_v1_ends_at_its_control_tokens_whatever_its_files_say(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**QWEN_CONFIG, "vocab_size": 151_936}))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": 151_643}))
    assert read_checkpoint(tmp_path).eos_token_ids == (151_643, 151_644, 151_645)
