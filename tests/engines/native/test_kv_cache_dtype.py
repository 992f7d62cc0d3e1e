"""Keys and values in sixteen bits."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from portico.core.engine import EngineStartError, TokenLogprobs
from portico.engines.native import startup
from portico.engines.native.config import NativeConfig
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.startup import build
from tests.engines.native.conftest import needs_kernels
from tests.engines.native.core_driver import run_to_end
from tests.engines.native.jobs import job


@pytest.mark.parametrize(
    ("name", "dtype", "has_kernels", "expected"),
    [
        ("auto", torch.float32, True, torch.float32),
        ("auto", torch.float16, True, torch.float16),
        ("auto", torch.bfloat16, True, torch.float16),
        ("auto", torch.int8, True, torch.float16),
        ("float32", torch.int8, True, torch.float32),
        ("float16", torch.float32, True, torch.float16),
        ("auto", torch.int8, False, torch.float32),
        ("auto", torch.bfloat16, False, torch.bfloat16),
        ("float32", torch.float16, False, torch.float32),
    ],
)
def test_formats(name: str, dtype: torch.dtype, has_kernels: bool, expected: torch.dtype) -> None:
    assert startup._cache_dtype(name, dtype, has_kernels=has_kernels) is expected


def test_sixteen_bits_without_kernels_are_refused(checkpoint: Path) -> None:
    with pytest.raises(EngineStartError, match="A KV cache of float16"):
        build(checkpoint, NativeConfig(kernels="torch", kv_cache_dtype="float16", device="cpu"), lambda _: None)


def test_other_formats_are_refused() -> None:
    with pytest.raises(ValueError, match="kv_cache_dtype is one of auto, float32, float16, not fp8"):
        NativeConfig(kv_cache_dtype="fp8")


@needs_kernels
def test_the_same_memory_has_twice_the_tokens(checkpoint: Path) -> None:
    blocks = [
        build(checkpoint, NativeConfig(kv_cache_memory=1 << 20, kv_cache_dtype=name, device="cpu"), lambda _: None)[1]
        for name in ("float32", "float16")
    ]
    assert blocks[1].stats.num_blocks == 2 * blocks[0].stats.num_blocks


def _logprobs(core: EngineCore, prompt: range, **changes: Any) -> list[TokenLogprobs]:
    [outcome] = run_to_end(core, [job(prompt, logprobs=0, prompt_logprobs=0, **changes)])
    return [each for each in [*outcome.prefilled[0].logprobs, *outcome.logprobs[0]] if each is not None]


@needs_kernels
@pytest.mark.parametrize("block_size", [16, 24])
def test_what_is_said_differs_by_rounding_alone(make_core: Callable[..., EngineCore], block_size: int) -> None:
    settings = {"kernels": "own", "block_size": block_size}
    exact, rounded = (
        _logprobs(make_core(kv_cache_dtype=name, **settings), range(20, 120), max_tokens=20)
        for name in ("float32", "float16")
    )
    distances = [abs(one.logprob - other.logprob) for one, other in zip(exact, rounded, strict=True)]
    assert 0 < max(distances) < 0.02


@needs_kernels
def test_what_is_too_large_is_the_largest_number(
    make_core: Callable[..., EngineCore], checkpoint: Path, tmp_path: Path
) -> None:
    """Values of 100,000 would be infinite, and everything after them no number."""
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    tensors = load_file(checkpoint / "model.safetensors")
    for name, tensor in tensors.items():
        if name.endswith("v_proj.bias"):
            tensor[::2] = 100_000.0
            tensor[1::2] = -100_000.0
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    core = make_core(tmp_path, kernels="own", kv_cache_dtype="float16")
    assert all(each.logprob <= 0 for each in _logprobs(core, range(20, 40)))
