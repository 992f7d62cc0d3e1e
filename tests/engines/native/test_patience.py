"""How long steps may go without progress, and whether runners show theirs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from portico.engines.native.block_manager import BlockManager
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.loader import read_checkpoint
from portico.engines.native.patience import Patience
from portico.engines.native.scheduler import Scheduler, Step
from portico.engines.native.sequence import Job
from tests.engines.native.conftest import write_checkpoint
from tests.engines.native.core_driver import run_to_end
from tests.engines.native.jobs import job

SEVEN_BILLION = 7_000_000_000


@pytest.fixture
def patience(checkpoint: Path) -> Patience:
    """Of a model of the size of Llama 2 7B."""
    small = read_checkpoint(checkpoint).config
    large = replace(small, num_layers=32, num_heads=32, num_kv_heads=32, head_dim=128, vocab_size=32_000)
    return Patience(large, SEVEN_BILLION)


def prefill(num_tokens: int) -> Step:
    scheduler = Scheduler(BlockManager(100_000, 16), 4, 1_000_000)
    scheduler.add(Job(0, job([1] * num_tokens), 0, 0.0))
    step = scheduler.schedule()
    assert step is not None
    return step


def decode(num_sequences: int, num_tokens: int = 100) -> Step:
    scheduler = Scheduler(BlockManager(100_000, 16), num_sequences, 1_000_000)
    scheduler.add(Job(0, job([1] * num_tokens, num_sequences=num_sequences), 0, 0.0))
    step = scheduler.schedule()
    assert step is not None
    for sequence in scheduler.prefilled(step.chunks[0]):
        sequence.token_ids.append(1)
    following = scheduler.schedule()
    assert following is not None
    return following


def seconds(patience: Patience, step: Step) -> float:
    patience.begin(step)
    return patience.seconds


def test_a_slow_large_model_is_told_from_a_hung_one_within_ten_seconds(patience: Patience) -> None:
    # Two cores: 3 tokens per second alone, 64 sequences in 8 seconds, and prompts in steps of 64 tokens.
    patience.begin(decode(1))
    patience.note(0.33)
    assert 6 < seconds(patience, decode(1)) < 7
    for _ in range(30):
        patience.begin(decode(64))
        patience.note(8.0)
    # Two ticks of a second come to that.
    assert seconds(patience, decode(64)) < 8
    assert seconds(patience, prefill(64)) < 8


def test_before_a_step_was_timed_the_machine_may_be_the_slowest(patience: Patience) -> None:
    assert seconds(patience, prefill(64)) > 6 + 64 * 7 / 32


def test_attention_over_a_long_context_counts(patience: Patience) -> None:
    for _ in range(30):
        patience.begin(prefill(2048))
        patience.note(10.0)
    short = seconds(patience, prefill(2048))
    assert seconds(patience, prefill(100_000)) - short > 50 * (short - 6)


def test_a_slower_machine_is_given_more(patience: Patience) -> None:
    times = []
    for spent in (1.0, 100.0):
        for _ in range(30):
            patience.begin(prefill(64))
            patience.note(spent)
        times.append(seconds(patience, prefill(64)))
    assert times[1] > times[0] + 4


def test_steps_show_that_they_get_on(tmp_path: Path, kernels: str, make_core: Callable[..., EngineCore]) -> None:
    path = write_checkpoint(tmp_path, num_hidden_layers=24, hidden_size=256, max_position_embeddings=2048)
    core = make_core(path, kernels=kernels)
    run_to_end(core, [job(range(100), max_tokens=1)])
    seen: list[object] = []
    rounds: list[int] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            progress = core.progress()
            if not seen or seen[-1] != progress:
                seen.append(progress)
            time.sleep(0.0005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    core.add(0, job(range(200, 300), max_tokens=1))
    core.add(1, job([5] * 1500, max_tokens=1))
    while core.has_work:
        core.step()
        rounds.append(1)
    is_over.set()
    watcher.join()
    # More often than steps end.
    assert len(seen) > 2 * len(rounds)
