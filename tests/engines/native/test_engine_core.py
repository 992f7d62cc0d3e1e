"""Jobs through scheduler, model and sampler, without the process around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from portico.core.engine import TokenJob
from portico.core.events import FinishReason
from portico.core.model import EngineStats
from portico.engines.native.attention import KVCache
from portico.engines.native.careful import ModelBroken
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.kernel_runner import KernelRunner
from portico.engines.native.scheduler import Step
from portico.engines.native.torch_runner import TorchRunner
from tests.engines.native import faults
from tests.engines.native.conftest import VOCAB_SIZE
from tests.engines.native.core_driver import deliver, drain, run_to_end
from tests.engines.native.jobs import Outcome, job, sampling

MakeCore = Callable[..., EngineCore]

# Of the tiny checkpoint: two layers with two KV heads of 16 numbers.
BYTES_PER_BLOCK = 16 * KVCache.bytes_per_token(2, 2, 16, torch.float32)


def num_free_blocks(core: EngineCore) -> tuple[int, int]:
    """Free blocks and all blocks, as the next step reports them."""
    stats: EngineStats = core._scheduler.stats()
    return stats.num_free_blocks, stats.num_blocks


def seeded_jobs() -> list[TokenJob]:
    hot = sampling(temperature=1.2, top_p=0.95, repetition_penalty=1.1, seed=9)
    prompts = [tuple((31 * number + 7 * place) % VOCAB_SIZE for place in range(20 + number)) for number in range(6)]
    return [
        job(prompt, max_tokens=60, sampling=replace(hot, seed=number) if number % 2 else sampling(), logprobs=2)
        for number, prompt in enumerate(prompts)
    ]


def test_preemption_changes_nothing(make_core: MakeCore) -> None:
    expected = run_to_end(make_core(), seeded_jobs())
    core = make_core(kv_cache_memory=11 * BYTES_PER_BLOCK)
    found = run_to_end(core, seeded_jobs())
    assert core._scheduler.num_preemptions > 0
    assert num_free_blocks(core) == (11, 11)
    assert [each.token_ids for each in found] == [each.token_ids for each in expected]
    assert [len(each.prefilled) for each in found] == [1] * 6


def test_making_way_for_another_owner_changes_nothing(make_core: MakeCore) -> None:
    jobs = seeded_jobs()
    expected = run_to_end(make_core(), jobs)
    core = make_core(max_num_seqs=2)
    outcomes = {handle: Outcome() for handle in range(len(jobs))}
    for handle, each in enumerate(jobs[:4]):
        core.add(handle, replace(each, owner="busy"))
    for handle, each in enumerate(jobs[4:], 4):
        for _ in range(15):
            deliver(core.step(), outcomes)
        core.add(handle, replace(each, max_tokens=8, owner="other"))
    drain(core, outcomes)
    assert core._scheduler.num_preemptions > 1
    assert [outcomes[handle].token_ids for handle in range(4)] == [each.token_ids for each in expected[:4]]
    for handle in (4, 5):
        assert outcomes[handle].token_ids[0] == expected[handle].token_ids[0][:8]
    assert [len(each.prefilled) for each in outcomes.values()] == [1] * 6
    free, total = num_free_blocks(core)
    assert free == total


def test_choices_share_one_prefill(make_core: MakeCore, monkeypatch: pytest.MonkeyPatch) -> None:
    num_rows: list[int] = []
    for runner in (KernelRunner, TorchRunner):
        evaluate: Callable[..., Any] = runner.evaluate

        def counting(self: Any, step: Step, evaluate: Callable[..., Any] = evaluate) -> Any:
            if step.chunks:
                num_rows.append(step.num_chunk_tokens)
            return evaluate(self, step)

        monkeypatch.setattr(runner, "evaluate", counting)
    core = make_core()
    prompt = tuple(range(40, 90))
    hot = sampling(temperature=1.0, seed=100)
    [together] = run_to_end(core, [job(prompt, num_sequences=10, max_tokens=30, sampling=hot)])
    assert num_rows == [50]
    assert together.token_ids.keys() == together.finished.keys() == set(range(10))
    for index in range(10):
        assert together.finished[index].seed == 100 + index
        alone = sampling(temperature=1.0, seed=100 + index)
        [one] = run_to_end(core, [job(prompt, max_tokens=30, sampling=alone)])
        assert one.token_ids[0] == together.token_ids[index]
    free, total = num_free_blocks(core)
    assert free == total


def test_more_choices_than_may_run_at_once(make_core: MakeCore) -> None:
    many = job(range(20), num_sequences=7, max_tokens=12, sampling=sampling(temperature=1.0, seed=1))
    [expected] = run_to_end(make_core(), [many])
    core = make_core(max_num_seqs=3)
    found, other = run_to_end(core, [many, job(range(5))])
    assert found.token_ids == expected.token_ids
    assert len(other.token_ids[0]) == 8


def test_a_long_prompt_is_evaluated_in_chunks_beside_others(make_core: MakeCore) -> None:
    jobs = [job(range(200), max_tokens=10, prompt_logprobs=1), job(range(3), max_tokens=30)]
    expected = [run_to_end(make_core(max_num_batched_tokens=64), [each])[0] for each in jobs]
    found = run_to_end(make_core(max_num_batched_tokens=64), jobs[::-1])[::-1]
    for one, other in zip(expected, found, strict=True):
        assert one.token_ids == other.token_ids
        assert one.prefilled == other.prefilled
    assert len(expected[0].prefilled[0].logprobs) == 200


def test_stop_tokens_and_limits(make_core: MakeCore) -> None:
    core = make_core()
    [free] = run_to_end(core, [job(range(30), max_tokens=20)])
    output = free.token_ids[0]
    assert free.finished[0].reason is FinishReason.LENGTH
    assert free.finished[0].stop_token_id is None
    stop = output[4]
    [stopped] = run_to_end(core, [job(range(30), max_tokens=20, stop_token_ids=frozenset({stop}))])
    assert stopped.token_ids[0] == output[: output.index(stop) + 1]
    assert stopped.finished[0].reason is FinishReason.STOP
    assert stopped.finished[0].stop_token_id == stop
    [later] = run_to_end(core, [job(range(30), max_tokens=20, min_tokens=20, stop_token_ids=frozenset({stop}))])
    assert len(later.token_ids[0]) == 20
    assert stop not in later.token_ids[0]


def test_no_output_tokens_only_evaluate_the_prompt(make_core: MakeCore) -> None:
    core = make_core()
    jobs = [job(range(9), max_tokens=0, num_sequences=2, prompt_logprobs=1), job(range(9))]
    silent, other = run_to_end(core, jobs)
    assert silent.token_ids == {}
    assert [each.reason for each in silent.finished.values()] == [FinishReason.LENGTH] * 2
    assert len(silent.prefilled[0].logprobs) == 9
    assert len(other.token_ids[0]) == 8
    free, total = num_free_blocks(core)
    assert free == total


def test_timings_and_random_seeds(make_core: MakeCore) -> None:
    hot = sampling(temperature=1.5)
    one, other = run_to_end(make_core(), [job(range(9), sampling=hot)] * 2)
    timings = one.finished[0].timings
    assert min(timings.queue, timings.prefill, timings.decode) >= 0
    assert timings.prefill > 0
    [prefilled] = one.prefilled
    assert prefilled.queue_seconds == timings.queue
    assert 0 < prefilled.prefill_seconds <= timings.prefill
    assert one.finished[0].seed != other.finished[0].seed
    again = sampling(temperature=1.5, seed=one.finished[0].seed)
    assert run_to_end(make_core(), [job(range(9), sampling=again)])[0].token_ids == one.token_ids


def test_abort_frees_blocks_and_says_nothing(make_core: MakeCore) -> None:
    core = make_core()
    outcomes = {0: Outcome(), 1: Outcome()}
    core.add(0, job(range(40), num_sequences=3, max_tokens=50))
    core.add(1, job(range(10), max_tokens=50))
    for _ in range(4):
        deliver(core.step(), outcomes)
    core.abort(0, 1)
    deliver(core.step(), outcomes)
    assert len(outcomes[0].token_ids[1]) < len(outcomes[0].token_ids[0])
    core.abort(0, None)
    core.abort(1, 0)
    core.abort(7, None)
    free, total = num_free_blocks(core)
    assert free == total
    assert not core.jobs
    assert not core.has_work
    done = core.step()
    assert done.is_empty
    assert done.stats is not None
    assert done.stats.num_running == 0


def test_the_first_choices_can_be_aborted_before_the_prefill(make_core: MakeCore) -> None:
    core = make_core()
    outcome = Outcome()
    core.add(0, job(range(8), num_sequences=4, sampling=sampling(temperature=1.0, seed=5)))
    for index in (0, 2):
        core.abort(0, index)
    drain(core, {0: outcome})
    assert {index: each.seed for index, each in outcome.finished.items()} == {1: 6, 3: 8}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"token_ids": (1, VOCAB_SIZE)}, "token id 320 is outside"),
        ({"token_ids": ()}, "at least one prompt token"),
        ({"max_tokens": 300}, "do not fit the engine's 256 tokens"),
        ({"sampling": sampling(logit_bias=((-1, 1.0),))}, "token id -1 is outside"),
        ({"sampling": sampling(allowed_token_ids=())}, "leave none that could be generated"),
        (
            {"sampling": sampling(allowed_token_ids=(3,)), "min_tokens": 1, "stop_token_ids": frozenset({3})},
            "leave none that could be generated",
        ),
        ({"min_tokens": 1, "stop_token_ids": frozenset(range(VOCAB_SIZE))}, "leave none that could be generated"),
    ],
)
def test_a_job_that_cannot_be_run_fails_alone(make_core: MakeCore, changes: dict[str, Any], part: str) -> None:
    bad, good = run_to_end(make_core(), [job(**({"token_ids": range(3)} | changes)), job(range(3))])
    assert bad.failure is not None
    assert part in bad.failure
    assert good.failure is None
    assert len(good.token_ids[0]) == 8


def test_stop_tokens_outside_the_vocabulary_forbid_nothing(make_core: MakeCore) -> None:
    only = sampling(allowed_token_ids=tuple(range(5, VOCAB_SIZE)))
    strange = frozenset(range(VOCAB_SIZE, VOCAB_SIZE + 400))
    [outcome] = run_to_end(make_core(), [job(range(3), sampling=only, min_tokens=2, stop_token_ids=strange)])
    assert outcome.failure is None
    assert len(outcome.token_ids[0]) == 8


def faulty_jobs(seed: int) -> list[TokenJob]:
    """Seeded jobs of which the second one, with two sequences, has a seed that stands for a fault."""
    first, second, *others = (replace(each, prompt_logprobs=1) for each in seeded_jobs())
    hot = sampling(temperature=1.0, seed=seed)
    prompt = tuple(range(faults.LOGPROBS_LENGTH))
    return [first, replace(second, token_ids=prompt, num_sequences=2, sampling=hot), *others]


@pytest.mark.parametrize("seed", [faults.PREFILL, faults.DECODE, faults.SAMPLE, faults.LATE_SAMPLE, faults.MEMORY, 1])
def test_what_fails_for_one_job_fails_that_one_alone(
    make_core: MakeCore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    expected = run_to_end(make_core(), faulty_jobs(seed))
    faults.install(monkeypatch.setattr)
    core = make_core()
    found = run_to_end(core, faulty_jobs(seed))
    assert found[1].failure == "The engine failed on this request."
    assert found[1].finished == {}
    for place in (0, 2, 3, 4, 5):
        assert found[place].failure is None
        assert found[place].token_ids == expected[place].token_ids
        assert found[place].prefilled == expected[place].prefilled
    assert "Traceback" in caplog.text
    free, total = num_free_blocks(core)
    assert free == total


@pytest.mark.parametrize("phase", ["chunks", "sequences"])
def test_a_sequence_that_the_model_fails_on_fails_alone(
    make_core: MakeCore, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """Also where choices have just been forked, whose blocks are copied in the step that fails."""
    several = job(range(9), num_sequences=3, sampling=sampling(temperature=1.0, seed=3))
    jobs = [job(range(30)), several, job(range(7), num_sequences=2), job(range(40, 45))]
    expected = run_to_end(make_core(), jobs)
    core = make_core()
    right = core._runner.evaluate

    def fails_on_the_third(step: Step) -> Any:
        members = [each.sequence for each in step.chunks] if phase == "chunks" else step.sequences
        if any(each.job.handle == 2 for each in members):
            raise RuntimeError("out of luck")
        return right(step)

    monkeypatch.setattr(core._runner, "evaluate", fails_on_the_third)
    outcomes = run_to_end(core, jobs)
    assert outcomes[2].failure == "The engine failed on this request."
    for handle in (0, 1, 3):
        assert outcomes[handle].failure is None
        assert outcomes[handle].token_ids == expected[handle].token_ids
    free, total = num_free_blocks(core)
    assert free == total


def break_model(monkeypatch: pytest.MonkeyPatch, phase: str, error: Exception) -> None:
    for runner in (KernelRunner, TorchRunner):
        evaluate: Callable[..., Any] = runner.evaluate

        def broken(self: Any, step: Step, evaluate: Callable[..., Any] = evaluate) -> Any:
            if getattr(step, phase):
                raise error
            return evaluate(self, step)

        monkeypatch.setattr(runner, "evaluate", broken)


@pytest.mark.parametrize("phase", ["chunks", "sequences"])
def test_a_model_that_fails_for_all_is_broken(make_core: MakeCore, monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    core = make_core()
    break_model(monkeypatch, phase, RuntimeError("out of luck"))
    with pytest.raises(ModelBroken):
        run_to_end(core, [job(range(30)), job(range(50, 57))])


def test_a_model_that_fails_for_one_job_after_the_other_is_broken(
    make_core: MakeCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = make_core()
    [expected] = run_to_end(core, [job(range(3))])
    with monkeypatch.context() as patch:
        break_model(patch, "chunks", RuntimeError("out of luck"))
        [first] = run_to_end(core, [job(range(30))])
        assert first.failure == "The engine failed on this request."
    [between] = run_to_end(core, [job(range(3))])
    assert between.token_ids == expected.token_ids
    break_model(monkeypatch, "chunks", RuntimeError("out of luck"))
    run_to_end(core, [job(range(30))])
    with pytest.raises(ModelBroken):
        run_to_end(core, [job(range(30))])


def test_jobs_that_need_too_much_memory_break_nothing(make_core: MakeCore, monkeypatch: pytest.MonkeyPatch) -> None:
    core = make_core()
    with monkeypatch.context() as patch:
        break_model(patch, "chunks", RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
        for _ in range(3):
            found = run_to_end(core, [job(range(30)), job(range(50, 57))])
            assert [each.failure for each in found] == ["The engine failed on this request."] * 2
    [fine] = run_to_end(core, [job(range(3))])
    assert fine.failure is None
