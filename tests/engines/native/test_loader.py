"""Checkpoints that are fine in another form, and those that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2ForCausalLM

from portico.core.engine import EngineStartError
from portico.engines.native.config import NativeConfig
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.loader import load_weights, read_checkpoint
from portico.engines.native.startup import build
from tests.engines.native.conftest import write_checkpoint
from tests.engines.native.core_driver import run_to_end
from tests.engines.native.jobs import job

CPU = torch.device("cpu")


def edit_config(path: Path, **changes: Any) -> None:
    config = json.loads((path / "config.json").read_text())
    config.update(changes)
    (path / "config.json").write_text(json.dumps(config))


def edit_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors")


def truncate(path: Path) -> None:
    data = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(data[: len(data) // 2])


BROKEN: list[tuple[str, Callable[[Path], object]]] = [
    (r"has no config\.json\.$", lambda path: (path / "config.json").unlink()),
    (r"config\.json cannot be read", lambda path: (path / "config.json").write_text("{")),
    (r"does not hold a JSON object\.$", lambda path: (path / "config.json").write_text("[]")),
    (
        r"^The architecture FooModel is not supported; supported are .*Qwen2ForCausalLM",
        lambda path: edit_config(path, architectures=["FooModel"]),
    ),
    (r"\(none given\) is not supported", lambda path: edit_config(path, architectures=None)),
    (r"hidden_size as a positive integer, not 'x'\.$", lambda path: edit_config(path, hidden_size="x")),
    (r"scaling yarn .* is not supported", lambda path: edit_config(path, rope_parameters={"rope_type": "yarn"})),
    (r"sets quantization_config", lambda path: edit_config(path, quantization_config={"bits": 4})),
    (r"sets use_sliding_window", lambda path: edit_config(path, use_sliding_window=True)),
    (r"has no model\.safetensors\.$", lambda path: (path / "model.safetensors").unlink()),
    (r"is not a readable safetensors file", truncate),
    (
        r"lacks the tensor model\.norm\.weight\.$",
        lambda path: edit_weights(path, lambda tensors: tensors.__delitem__("model.norm.weight")),
    ),
    (
        r"model\.norm\.weight .* has the shape \[3\], but config\.json asks for \[64\]\.$",
        lambda path: edit_weights(path, lambda tensors: tensors.update({"model.norm.weight": torch.ones(3)})),
    ),
    (
        r"holds the tensor extra\.weight",
        lambda path: edit_weights(path, lambda tensors: tensors.update({"extra.weight": torch.ones(3)})),
    ),
    (
        r"has the type torch\.int8, which is not supported\.$",
        lambda path: edit_weights(
            path, lambda tensors: tensors.update({"model.norm.weight": torch.ones(64, dtype=torch.int8)})
        ),
    ),
]


@pytest.mark.parametrize(("message", "damage"), BROKEN, ids=[message[:40] for message, _ in BROKEN])
def test_a_broken_checkpoint_is_refused(tmp_path: Path, message: str, damage: Callable[[Path], object]) -> None:
    write_checkpoint(tmp_path)
    damage(tmp_path)
    with pytest.raises(EngineStartError, match=message) as caught:
        load_weights(read_checkpoint(tmp_path), torch.float32, CPU, lambda _: None)
    assert "\n" not in str(caught.value)


def test_settings_that_do_not_fit_are_refused(checkpoint: Path) -> None:
    with pytest.raises(EngineStartError, match="more than the 256 tokens"):
        build(checkpoint, NativeConfig(max_model_len=300, device="cpu"), lambda _: None)
    with pytest.raises(EngineStartError, match="fewer than the context of 200"):
        build(checkpoint, NativeConfig(max_model_len=200, kv_cache_memory=1 << 16, device="cpu"), lambda _: None)
    with pytest.raises(ValueError, match="dtype is one of"):
        NativeConfig(dtype="int3")
    with pytest.raises(ValueError, match="max_num_seqs is at least 1"):
        NativeConfig(max_num_seqs=0)


def test_a_small_cache_shortens_the_context(checkpoint: Path) -> None:
    _, ready = build(checkpoint, NativeConfig(kv_cache_memory=1 << 16, device="cpu", num_threads=1), lambda _: None)
    assert ready.info.max_model_len == ready.stats.num_blocks * 16 < 256


def test_sharded_checkpoints_are_the_same(
    checkpoint: Path, tmp_path: Path, make_core: Callable[..., EngineCore]
) -> None:
    Qwen2ForCausalLM.from_pretrained(checkpoint).save_pretrained(tmp_path, max_shard_size="100KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    [expected] = run_to_end(make_core(), [job(range(12))])
    [found] = run_to_end(make_core(tmp_path), [job(range(12))])
    assert found.token_ids == expected.token_ids
    shard = next(iter(tmp_path.glob("model-*.safetensors")))
    shard.unlink()
    with pytest.raises(EngineStartError, match=f"has no {shard.name}"):
        make_core(tmp_path)


@pytest.mark.parametrize(
    ("config_eos", "generation", "expected"),
    [(7, None, (7,)), ([7, 8], None, (7, 8)), (7, {}, (7,)), (7, {"eos_token_id": 9}, (9,)), (None, None, ())],
)
def test_eos_token_ids(
    tmp_path: Path, config_eos: Any, generation: dict[str, Any] | None, expected: tuple[int, ...]
) -> None:
    write_checkpoint(tmp_path)
    edit_config(tmp_path, eos_token_id=config_eos)
    (tmp_path / "generation_config.json").unlink()
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert read_checkpoint(tmp_path).eos_token_ids == expected
