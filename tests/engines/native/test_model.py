"""The decoder against transformers on tiny random checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2ForCausalLM

from portico.engines.native.config import NativeConfig
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.startup import build
from tests.engines.native.conftest import VOCAB_SIZE, write_checkpoint
from tests.engines.native.core_driver import run_to_end
from tests.engines.native.jobs import job
from tests.engines.native.logits import check_logprobs, found_logprobs, transformers_logits


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"num_key_value_heads": 4, "rope_theta": 1000000.0},
        {"num_attention_heads": 2, "num_key_value_heads": 1, "hidden_size": 48},
    ],
)
@pytest.mark.parametrize("max_num_batched_tokens", [2048, 32])
def test_prefill_and_decode_equal_transformers(
    tmp_path: Path, changes: dict[str, Any], max_num_batched_tokens: int
) -> None:
    path = write_checkpoint(tmp_path, **changes)
    reference = Qwen2ForCausalLM.from_pretrained(path, dtype=torch.float32)
    check_logprobs(path, transformers_logits(reference), max_num_batched_tokens=max_num_batched_tokens)


def test_bfloat16_is_close(checkpoint: Path, reference: Any) -> None:
    core, ready = build(checkpoint, NativeConfig(dtype="bfloat16", num_threads=1, device="cpu"), lambda _: None)
    prompt = tuple(range(10, 50))
    [outcome] = run_to_end(core, [job(prompt, logprobs=VOCAB_SIZE, max_tokens=6)])
    with torch.inference_mode():
        logits = reference.to(torch.bfloat16)(torch.tensor([[*prompt, *outcome.token_ids[0]]])).logits[0]
    reference.to(torch.float32)
    expected = logits.float().log_softmax(1)
    found = torch.stack([found_logprobs(entry.best, VOCAB_SIZE) for entry in outcome.logprobs[0]])
    assert ready.info.dtype == "bfloat16"
    assert float((found - expected[len(prompt) - 1 : -1]).abs().mean()) < 0.1


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_text_and_logprobs_are_the_same_alone_and_among_others(
    make_core: Callable[..., EngineCore], prompts: list[tuple[int, ...]], dtype: str
) -> None:
    jobs = [
        job(prompt, max_tokens=20 + 2 * number, logprobs=3, stop_token_ids=frozenset({3}))
        for number, prompt in enumerate(prompts)
    ]
    core = make_core(dtype=dtype)
    alone = [run_to_end(core, [each])[0] for each in jobs]
    together = run_to_end(make_core(dtype=dtype), jobs)
    for one, other in zip(alone, together, strict=True):
        assert one.token_ids == other.token_ids
        # To the bit: every product runs with numbers of rows that give the same bits.
        assert one.logprobs == other.logprobs


def test_info_tells_the_model(checkpoint: Path) -> None:
    _, ready = build(checkpoint, NativeConfig(num_threads=1, device="cpu"), lambda _: None)
    assert ready.info.architecture == "Qwen2ForCausalLM"
    assert ready.info.dtype == "float32"
    assert ready.info.device == "cpu"
    assert ready.info.max_model_len == 256
    assert ready.info.eos_token_ids == (3, 5)
    assert ready.info.vocab_size == VOCAB_SIZE
    expected = sum(parameter.numel() for parameter in Qwen2ForCausalLM.from_pretrained(checkpoint).parameters())
    assert ready.info.num_parameters == expected
