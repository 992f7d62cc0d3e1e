"""What is decided before a model runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from portico.core.engine import EngineStartError
from portico.core.freed_memory import give_back_freed_memory
from portico.engines.native import startup
from portico.engines.native.config import NativeConfig
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.kernels.library import load
from portico.engines.native.memory import available_memory
from portico.engines.native.startup import build
from tests.engines.native.conftest import write_checkpoint
from tests.engines.native.core_driver import run_to_end
from tests.engines.native.jobs import job

DTYPES = ("float32", "float16", "bfloat16", "int8")
CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("name", "device", "stored", "expected"),
    [
        ("auto", CPU, "float32", torch.float32),
        ("auto", CPU, None, torch.float32),
        ("auto", CPU, "bfloat16", torch.float16),
        ("auto", CPU, "float16", torch.float16),
        ("auto", GPU, "float32", torch.bfloat16),
        ("int8", CPU, "float32", torch.int8),
        ("float16", CPU, "float32", torch.float16),
        ("bfloat16", CPU, "float32", torch.bfloat16),
    ],
)
def test_number_formats(name: str, device: torch.device, stored: str | None, expected: torch.dtype) -> None:
    assert startup._dtype(name, device, stored) is expected


def test_checkpoints_of_bfloat16_stay_so_where_it_is_fast() -> None:
    for stored, expected in (
        ("bfloat16", torch.bfloat16),
        ("float16", torch.float16),
        ("float32", torch.float32),
        (None, torch.float32),
    ):
        assert startup._dtype("auto", CPU, stored, prefers_bfloat16=True) is expected
    assert startup._dtype("float16", CPU, "bfloat16", prefers_bfloat16=True) is torch.float16


def test_without_kernels_weights_are_as_wide_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "is_supported", lambda: False)
    assert startup._dtype("auto", CPU, "bfloat16") is torch.float32
    for name in ("int8", "float16"):
        with pytest.raises(EngineStartError, match=f"The number format {name} is for x86 CPUs only"):
            startup._dtype(name, CPU, None)


@pytest.mark.parametrize("name", ["int8", "float16"])
def test_formats_of_products_on_a_cpu_are_refused_on_a_gpu(name: str) -> None:
    with pytest.raises(EngineStartError, match="x86 CPUs only"):
        startup._dtype(name, GPU, None)


def test_a_checkpoint_of_sixteen_bits_is_held_in_sixteen(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    _, ready = build(path, NativeConfig(device="cpu"), lambda _: None)
    library = load()
    is_fast = library is not None and library.portico_prefers_bfloat16()
    assert ready.info.dtype == ("bfloat16" if is_fast else "float16")
    assert ready.num_threads == 1


def test_eight_bits_count_the_same_parameters(make_core: Callable[..., EngineCore], checkpoint: Path) -> None:
    infos = [build(checkpoint, NativeConfig(dtype=dtype, device="cpu"), lambda _: None)[1].info for dtype in DTYPES]
    assert len({info.num_parameters for info in infos}) == 1
    assert [info.dtype for info in infos] == list(DTYPES)
    [outcome] = run_to_end(make_core(dtype="int8"), [job(range(20))])
    assert len(outcome.token_ids[0]) == 8


def test_kernels_for_some_instructions(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if load("avx2") is None:
        pytest.skip("no avx2 kernels on this machine")
    _, ready = build(checkpoint, NativeConfig(kernels="avx2", device="cpu"), lambda _: None)
    assert ready.kernels == "kernels for avx2"
    monkeypatch.setattr(startup, "load", lambda _: None)
    with pytest.raises(EngineStartError, match="Kernels for avx512 were asked for, but this device does not have"):
        build(checkpoint, NativeConfig(kernels="avx512", device="cpu"), lambda _: None)


def test_memory() -> None:
    give_back_freed_memory()
    assert available_memory() > 0
