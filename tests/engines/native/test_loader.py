"""Checkpoints that are fine in another form, and those that are refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2ForCausalLM

from portico.core.engine import EngineStartError
from portico.engines.native import weight_files
from portico.engines.native.config import NativeConfig
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.loader import load_weights, read_checkpoint
from portico.engines.native.startup import build
from tests.engines.native.checkpoints import (
    BAICHUAN_CONFIG,
    QWEN_CONFIG,
    baichuan_tensors,
    qwen_tensors,
    write_files,
)
from tests.engines.native.conftest import write_checkpoint
from tests.engines.native.core_driver import run_to_end
from tests.engines.native.jobs import job

CPU = torch.device("cpu")


def edit_config(path: Path, **changes: Any) -> None:
    config = json.loads((path / "config.json").read_text())
    config.update(changes)
    (path / "config.json").write_text(json.dumps(config))


def edit_ends(path: Path, eos: Any) -> None:
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": eos}))


def edit_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors")


def spoil_weights(path: Path, name: str, value: float) -> None:
    tensors = load_file(path / "model.safetensors")
    tensors[name].view(-1)[3] = value
    save_file(tensors, path / "model.safetensors")


def truncate(path: Path) -> None:
    data = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(data[: len(data) // 2])


def write_pickle(path: Path, content: object) -> None:
    (path / "model.safetensors").unlink()
    if isinstance(content, bytes):
        (path / "pytorch_model.bin").write_bytes(content)
    else:
        torch.save(content, path / "pytorch_model.bin")


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must not run",))


def write_harmful_pickle(path: Path) -> None:
    write_pickle(path, {"model.norm.weight": Harmful()})


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
    (r"scaling su .* is not supported", lambda path: edit_config(path, rope_parameters={"rope_type": "su"})),
    (r"sets quantization_config", lambda path: edit_config(path, quantization_config={"bits": 4})),
    (r"has no model\.safetensors\.$", lambda path: (path / "model.safetensors").unlink()),
    (r"is not a readable safetensors file", truncate),
    (r"is not a readable PyTorch file: .*Weights only load failed", write_harmful_pickle),
    (r"is not a readable PyTorch file", lambda path: write_pickle(path, b"no zip file")),
    (r"pytorch_model\.bin does not hold tensors by name\.$", lambda path: write_pickle(path, [torch.ones(3)])),
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
    (r"config\.json cannot be read: maximum recursion", lambda path: (path / "config.json").write_text("[" * 200_000)),
    (r"architectures as a list of names, not 7\.$", lambda path: edit_config(path, architectures=7)),
    (r"architectures as a list of names, not \[\{\}\]\.$", lambda path: edit_config(path, architectures=[{}])),
    (r"hidden_size as a positive integer, not True\.$", lambda path: edit_config(path, hidden_size=True)),
    (r"hidden_size as an integer of at most 2147483647", lambda path: edit_config(path, hidden_size=2**63)),
    (r"weight files of \d+ bytes, but config\.json asks for \d+ w", lambda path: edit_config(path, vocab_size=10**9)),
    (r"asks for \d+ weights\.$", lambda path: edit_config(path, num_hidden_layers=10**9)),
    (
        r"mscale as a positive number, not 'x'\.$",
        lambda path: edit_config(
            path, rope_parameters={"type": "yarn", "factor": 4, "mscale": "x", "mscale_all_dim": 1}
        ),
    ),
    (
        r"must give its end of text as an id or a list of ids, not \['x', 1\]\.$",
        lambda path: edit_ends(path, ["x", 1]),
    ),
    (r"must give its end of text as an id or a list of ids, not -5\.$", lambda path: edit_ends(path, -5)),
    *(
        (
            rf"{place}\.weight .* has values that are no numbers, or infinite\.$",
            lambda path, name=f"{place}.weight", value=value: spoil_weights(path, name, value),
        )
        for place, value in (("model.norm", math.nan), ("model.embed_tokens", math.inf))
    ),
    *(
        (
            r"index\.json names .* which is no name of a file\.$",
            lambda path, name=name: (path / "model.safetensors.index.json").write_text(
                json.dumps({"weight_map": {"model.norm.weight": name}})
            ),
        )
        for name in ("../other/model.safetensors", "/etc/hostname", "a\x1b[31m", "x" * 5000, "a\0b", ".")
    ),
    (
        r"has the type torch\.int8, which is not supported\.$",
        lambda path: edit_weights(
            path, lambda tensors: tensors.update({"model.norm.weight": torch.ones(64, dtype=torch.int8)})
        ),
    ),
]


@pytest.mark.parametrize(("message", "damage"), BROKEN, ids=[message[:40] for message, _ in BROKEN])
def test_a_broken_checkpoint_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], message: str, damage: Callable[[Path], object]
) -> None:
    write_checkpoint(tmp_path)
    damage(tmp_path)
    with pytest.raises(EngineStartError, match=message) as caught:
        load_weights(read_checkpoint(tmp_path), torch.float32, CPU, lambda _: None)
    assert "\n" not in str(caught.value)
    assert "must not run" not in capfd.readouterr().out


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


def loaded(path: Path, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return list(load_weights(read_checkpoint(path), dtype, CPU, lambda _: None).tensors())


@pytest.mark.parametrize("num_shards", [1, 3])
@pytest.mark.parametrize("as_pickle", [False, True])
def test_file_formats_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_pickle: bool, num_shards: int
) -> None:
    # Files are opened anew after every two tensors or so.
    monkeypatch.setattr(weight_files, "_MAX_MAPPED", 10_000)
    tensors = baichuan_tensors(BAICHUAN_CONFIG)
    expected = loaded(write_files(tmp_path / "plain", BAICHUAN_CONFIG, tensors))
    path = write_files(tmp_path / "other", BAICHUAN_CONFIG, tensors, as_pickle, num_shards)
    for one, other in zip(expected, loaded(path), strict=True):
        assert torch.equal(one, other)


def test_pickled_parameters_are_tensors(tmp_path: Path) -> None:
    tensors = baichuan_tensors(BAICHUAN_CONFIG)
    parameters: Any = {name: torch.nn.Parameter(value) for name, value in tensors.items()}
    path = write_files(tmp_path, BAICHUAN_CONFIG, parameters, as_pickle=True)
    assert not any(tensor.requires_grad for tensor in loaded(path))


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_loaded_into_the_chosen_format(tmp_path: Path, stored: torch.dtype, dtype: torch.dtype) -> None:
    tensors = {name: value.to(stored) for name, value in qwen_tensors(QWEN_CONFIG).items()}
    weights = load_weights(read_checkpoint(write_files(tmp_path, QWEN_CONFIG, tensors)), dtype, CPU, lambda _: None)
    assert {tensor.dtype for tensor in weights.tensors()} == {dtype}
    assert torch.equal(weights.embedding, tensors["transformer.wte.weight"].to(dtype))


_PEAK = """
import re, sys
from pathlib import Path
import torch
from portico.engines.native import weight_files
from portico.engines.native.loader import load_weights, read_checkpoint

def memory(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

# So that a file of this size stands for one of many gigabytes.
weight_files._MAX_MAPPED = 4 << 20
checkpoint = read_checkpoint(Path(sys.argv[1]))
before = memory("VmRSS")
weights = load_weights(checkpoint, torch.float32, torch.device("cpu"), lambda _: None)
print((memory("VmHWM") - before) / sum(tensor.nbytes for tensor in weights.tensors()))
"""


@pytest.mark.parametrize("as_pickle", [False, True])
def test_loading_takes_little_more_memory_than_the_weights(tmp_path: Path, as_pickle: bool) -> None:
    config = {**BAICHUAN_CONFIG, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8}
    path = write_files(tmp_path, config, baichuan_tensors(config), as_pickle)
    command = [sys.executable, "-c", _PEAK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert float(done.stdout) < 1.3


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
