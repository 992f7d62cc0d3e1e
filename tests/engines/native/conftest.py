"""Tiny random checkpoints, and engines over them."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from portico.engines.native.config import NativeConfig
from portico.engines.native.engine import NativeEngine
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.kernels.library import load
from portico.engines.native.startup import build

VOCAB_SIZE = 320


def write_checkpoint(path: Path, **changes: Any) -> Path:
    """A random Qwen2 checkpoint with grouped query heads; weights large enough for varied greedy text."""
    torch.manual_seed(7)
    settings: dict[str, Any] = {
        "vocab_size": VOCAB_SIZE,
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
    model = Qwen2ForCausalLM(Qwen2Config(**(settings | changes)))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(path)
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, 5]}))
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untied checkpoint."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def reference(checkpoint: Path) -> Any:
    """The same checkpoint in transformers."""
    return Qwen2ForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)


needs_kernels = pytest.mark.skipif(load() is None, reason="no kernels on this machine")


@pytest.fixture(params=["own", "torch"])
def kernels(request: pytest.FixtureRequest) -> str:
    """Both ways to compute on a CPU, for tests that name this."""
    if request.param == "own" and load() is None:
        pytest.skip("no kernels on this machine")
    name: str = request.param
    return name


@pytest.fixture
def make_core(checkpoint: Path) -> Callable[..., EngineCore]:
    """Builds an engine core in this process; keyword arguments are settings."""

    def make(path: Path = checkpoint, **settings: Any) -> EngineCore:
        values: dict[str, Any] = {"num_threads": 1, "device": "cpu"}
        core, _ = build(path, NativeConfig(**(values | settings)), lambda _: None)
        return core

    return make


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(checkpoint: Path) -> AsyncIterator[NativeEngine]:
    """A started engine; tests that use it run in the session's event loop."""
    engine = NativeEngine(checkpoint, NativeConfig(num_threads=1, device="cpu"))
    await engine.start(lambda _: None)
    yield engine
    await engine.close()


@pytest.fixture
def prompts() -> list[tuple[int, ...]]:
    """Thirty-two prompts of mixed length."""
    chooser = random.Random(5)
    return [tuple(chooser.randrange(VOCAB_SIZE) for _ in range(chooser.randint(1, 150))) for _ in range(32)]
