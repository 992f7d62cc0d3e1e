"""The engines that the conformance suite runs on."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from portico.core.engine import Engine
from portico.engines.native.config import NativeConfig
from portico.engines.native.engine import NativeEngine
from portico.engines.scripted.config import ScriptedConfig
from portico.engines.scripted.engine import ScriptedEngine

EngineFactory = Callable[..., Engine]


def ignore_progress(fraction: float) -> None:
    """Takes progress reports that no test looks at."""


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2 model that is small enough to load at once, with weights that tell tokens well apart."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import Qwen2Config, Qwen2ForCausalLM

        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=160,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            initializer_range=0.3,
            tie_word_embeddings=False,
            eos_token_id=0,
        )
        path = tmp_path_factory.mktemp("checkpoint")
        Qwen2ForCausalLM(config).save_pretrained(path)
    return path


def _scripted(request: pytest.FixtureRequest) -> EngineFactory:
    return lambda max_num_seqs=256: ScriptedEngine(
        ScriptedConfig(vocab_size=160, max_model_len=512, token_delay=0.0002, max_num_seqs=max_num_seqs)
    )


def _native(request: pytest.FixtureRequest) -> EngineFactory:
    path = request.getfixturevalue("tiny_checkpoint")
    # One thread: handing out so little work takes longer than the work.
    config = NativeConfig(num_threads=1, kv_cache_memory=2**24)
    return lambda max_num_seqs=config.max_num_seqs: NativeEngine(path, replace(config, max_num_seqs=max_num_seqs))


@pytest.fixture(scope="session", params=[_scripted, _native], ids=["scripted", "native"])
def make_engine(request: pytest.FixtureRequest) -> EngineFactory:
    """Makes engines of one kind that have not been started; `max_num_seqs` is how many sequences run at once."""
    factory: EngineFactory = request.param(request)
    return factory


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(make_engine: EngineFactory) -> AsyncIterator[Engine]:
    """A running engine that the tests share."""
    shared = make_engine()
    await shared.start(ignore_progress)
    yield shared
    await shared.close()
