"""Guesses at the next tokens, and that they change nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from portico.core.engine import EngineStartError, TokenJob
from portico.core.grammar import Grammar, GrammarKind
from portico.engines.native.drafts import DraftState
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.kernel_runner import KernelRunner
from portico.engines.native.scheduler import Step
from tests.engines.native.conftest import needs_kernels
from tests.engines.native.core_driver import run_to_end
from tests.engines.native.jobs import job, sampling
from tests.engines.native.test_grammar import VOCABULARY

MakeCore = Callable[..., EngineCore]


def test_what_followed_before_is_guessed() -> None:
    state = DraftState()
    assert state.draft([1, 2, 3, 4, 5, 6, 1, 2, 3], 4) == (4, 5)
    assert state.draft([1, 2, 3, 4, 5, 6, 1, 2, 3], 1) == (4,)
    assert state.draft([1, 2, 3, 4, 5, 6, 1, 2, 3, 9], 4) == ()


def test_the_latest_place_counts() -> None:
    assert DraftState().draft([1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3], 4) == (5, 1)


def test_guesses_grow_while_they_are_right_and_stop_while_they_are_wrong() -> None:
    state = DraftState()
    tokens = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3]
    state.note(2, 2, len(tokens))
    assert state.draft(tokens, 8) == (4, 5, 6, 7)
    for _ in range(4):
        state.note(1, 0, len(tokens))
    assert state.draft(tokens, 8) == ()
    later = [*tokens, *range(100, 132), 1, 2, 3]
    assert state.draft(later, 8) == (100, 101)


def repetitive_jobs() -> list[TokenJob]:
    """Few tokens are allowed, so that texts repeat themselves: greedy, drawn, penalised, in a grammar, with stops."""
    prompt = [7, 8, 9, 10, 11, 12] * 8
    few = sampling(allowed_token_ids=(7, 8, 9))
    hot = replace(few, temperature=0.8, top_k=20, seed=5)
    letters = Grammar(GrammarKind.REGEX, "(a|b){70}", "regex")
    return [
        job(prompt, max_tokens=90, logprobs=2, sampling=few),
        job(prompt, max_tokens=90, sampling=hot),
        job(prompt[:20], max_tokens=61, sampling=replace(hot, repetition_penalty=1.2, frequency_penalty=0.3)),
        job(prompt, max_tokens=50, num_sequences=2, sampling=hot),
        job(prompt, max_tokens=80, stop_token_ids=frozenset((9,)), min_tokens=31, sampling=hot),
        job(prompt, max_tokens=90, sampling=sampling(grammar=letters, temperature=1.0, seed=3)),
    ]


def decode_rows(core: EngineCore, jobs: list[TokenJob], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, int, int]:
    """What comes of jobs one after another, the steps, and the guesses that were evaluated."""
    num_steps = num_drafted = 0
    evaluate = KernelRunner.evaluate

    def counting(self: KernelRunner, step: Step) -> Any:
        nonlocal num_steps, num_drafted
        num_steps += bool(step.sequences)
        num_drafted += sum(map(len, step.drafts))
        return evaluate(self, step)

    core.grammars.use(VOCABULARY)
    with monkeypatch.context() as patch:
        patch.setattr(KernelRunner, "evaluate", counting)
        outcomes = [run_to_end(core, [each])[0] for each in jobs]
    found = [(each.token_ids, each.logprobs, {k: v.reason for k, v in each.finished.items()}) for each in outcomes]
    return found, num_steps, num_drafted


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@needs_kernels
def test_guesses_save_steps_and_change_nothing(
    make_core: MakeCore, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    settings: dict[str, Any] = {"dtype": dtype, "kernels": "own"}
    plain, core = (make_core(num_speculative_tokens=number, **settings) for number in (0, 6))
    expected, num_plain, none = decode_rows(plain, repetitive_jobs(), monkeypatch)
    found, num_steps, num_drafted = decode_rows(core, repetitive_jobs(), monkeypatch)
    assert none == 0 < num_drafted
    assert plain._scheduler.stats().drafts is None
    counts = core._scheduler.stats().drafts
    assert counts is not None
    assert counts.num_tokens == num_drafted
    assert len(counts.accepted_by_position) == 6
    assert list(counts.accepted_by_position) == sorted(counts.accepted_by_position, reverse=True)
    assert 0 < counts.num_accepted < num_drafted
    assert found == expected
    assert num_steps < num_plain


@needs_kernels
def test_an_accepted_guess_is_a_step_saved(make_core: MakeCore, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [each for each in repetitive_jobs() if each.num_sequences == 1]
    _, num_plain, _ = decode_rows(make_core(kernels="own", num_speculative_tokens=0), jobs, monkeypatch)
    core = make_core(kernels="own", num_speculative_tokens=4)
    _, num_steps, _ = decode_rows(core, jobs, monkeypatch)
    counts = core._scheduler.stats().drafts
    assert counts is not None
    assert counts.num_accepted == num_plain - num_steps
    assert counts.num_drafts >= counts.accepted_by_position[0]


@needs_kernels
def test_guesses_among_others_change_nothing(make_core: MakeCore) -> None:
    def run(num: int) -> Any:
        core = make_core(kernels="own", num_speculative_tokens=num, kv_cache_memory=40 * 16 * 2 * 2 * 2 * 16 * 4)
        core.grammars.use(VOCABULARY)
        outcomes = run_to_end(core, repetitive_jobs())
        stats = core._scheduler.stats()
        assert stats.num_free_blocks == stats.num_blocks
        return [(each.token_ids, each.logprobs) for each in outcomes]

    assert run(12) == run(0)


def test_guesses_without_exact_kernels_are_refused(make_core: MakeCore) -> None:
    with pytest.raises(EngineStartError, match="num_speculative_tokens"):
        make_core(kernels="torch", num_speculative_tokens=2)
