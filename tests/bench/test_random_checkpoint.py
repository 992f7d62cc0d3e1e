"""Random checkpoints are what a real loader takes, and their tokenizer counts as it should."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from benchmarks.peers.compressed_tensors import quantise_checkpoint
from benchmarks.peers.safetensors_reader import read_tensors
from portico.bench.random_checkpoint import find_or_make_checkpoint, make_checkpoint, to_bfloat16
from portico.bench.shapes import SHAPES
from portico.bench.vocabulary import CONTROL_TOKENS, tokenizer_json, word, word_ids
from tests.bench.conftest import SHAPE


@pytest.mark.parametrize("has_tied_head", [True, False])
def test_transformers_loads_it(tmp_path: Path, has_tied_head: bool) -> None:
    shape = replace(SHAPE, has_tied_head=has_tied_head)
    make_checkpoint(shape, "bfloat16", 0, tmp_path, None)
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    model, report = loaded
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    assert model.num_parameters() == shape.num_parameters
    with torch.inference_mode():
        logits = model(torch.tensor([[300, 301]])).logits
    assert logits.shape == (1, 2, shape.vocab_size)
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize(
    ("name", "millions"), [("qwen2.5-0.5b", 494), ("qwen1.5-14b", 14_167), ("qwen2.5-7b", 7_616), ("demo", 2.6)]
)
def test_named_shapes_have_the_size_of_the_real_models(name: str, millions: float) -> None:
    assert SHAPES[name].num_parameters / 1e6 == pytest.approx(millions, rel=0.01)


def test_the_weights_are_made_once_and_depend_on_the_seed(checkpoint: Path, tmp_path: Path) -> None:
    weights = (checkpoint / "model.safetensors").read_bytes()
    assert find_or_make_checkpoint(SHAPE, "bfloat16", 0, checkpoint.parent, None) == checkpoint
    same = find_or_make_checkpoint(SHAPE, "bfloat16", 0, tmp_path, None)
    other = find_or_make_checkpoint(SHAPE, "bfloat16", 1, tmp_path, None)
    assert (same / "model.safetensors").read_bytes() == weights
    assert (other / "model.safetensors").read_bytes() != weights
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([same.name, other.name])


def test_weights_are_spread_as_those_of_a_new_model(tmp_path: Path) -> None:
    make_checkpoint(SHAPE, "float32", 0, tmp_path, None)
    with safe_open(str(tmp_path / "model.safetensors"), framework="np") as tensors:
        up = tensors.get_tensor("model.layers.0.mlp.up_proj.weight")
        norm = tensors.get_tensor("model.norm.weight")
    assert up.std() == pytest.approx(0.02, rel=0.05)
    assert (norm == 1).all()


def test_bfloat16_is_rounded_as_torch_does() -> None:
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    expected = torch.from_numpy(values).to(torch.bfloat16).view(torch.uint16).numpy()
    assert (to_bfloat16(values) == expected).all()


def test_the_tokenizer_takes_each_word_for_one_token(checkpoint: Path) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    assert tokenizer.get_vocab_size(with_added_tokens=True) == SHAPE.vocab_size
    ids = list(word_ids(SHAPE.vocab_size))
    assert tokenizer.encode("".join(map(word, ids))).ids == ids
    assert tokenizer.decode(ids) == "".join(map(word, ids))
    assert tokenizer.encode(CONTROL_TOKENS[-1]).ids == [SHAPE.vocab_size - 1]
    text = "Grüße, 世界! 12"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_transformers_has_the_same_tokenizer(checkpoint: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert tokenizer("".join(map(word, [400, 401, 1000])))["input_ids"] == [400, 401, 1000]
    text = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    assert isinstance(text, str)
    assert text.startswith("<|im_start|>user\na")


def test_a_vocabulary_needs_room() -> None:
    with pytest.raises(ValueError, match="359"):
        tokenizer_json(359)


def test_eight_bit_copies_are_close(checkpoint: Path, tmp_path: Path) -> None:
    """What a peer gets is the same model."""
    quantise_checkpoint(checkpoint, tmp_path / "w8a8")
    copies = {}
    with safe_open(str(tmp_path / "w8a8" / "model.safetensors"), framework="np") as tensors:
        for name in tensors.keys():  # noqa: SIM118 - it is no mapping
            copies[name] = tensors.get_tensor(name)
    name = "model.layers.1.mlp.down_proj.weight"
    original = dict(read_tensors(checkpoint / "model.safetensors"))[name]
    assert copies[name].dtype == np.int8
    assert np.abs(copies[name] * copies[f"{name}_scale"] - original).max() <= copies[f"{name}_scale"].max() / 2 + 1e-7
    config = json.loads((tmp_path / "w8a8" / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
