"""Prompts that begin alike: what is shared, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.core.engine import TokenJob
from portico.engines.native.block_manager import BlockManager
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.scheduler import Chunk, Scheduler
from portico.engines.native.sequence import Job, Sequence
from tests.engines.native.conftest import VOCAB_SIZE, needs_kernels
from tests.engines.native.core_driver import run_to_end
from tests.engines.native.jobs import Outcome, job, sampling

BLOCK_SIZE = 4

MakeCore = Callable[..., EngineCore]


class Simulation:
    """A worker that writes token ids where a model would write keys and values, and checks them when they are read."""

    def __init__(self, num_blocks: int, max_num_seqs: int, budget: int, *, mixes: bool = False) -> None:
        self.manager = BlockManager(num_blocks, BLOCK_SIZE, caches_prefixes=True)
        self.scheduler = Scheduler(self.manager, max_num_seqs, budget, mixes=mixes)
        self.jobs: list[Job] = []
        self.slots: list[tuple[str, tuple[int, ...]] | None] = [None] * (num_blocks * BLOCK_SIZE)

    def add(self, prompt: list[int], num_sequences: int, max_tokens: int, salt: str) -> None:
        capacity = self.manager.num_blocks * BLOCK_SIZE
        prompt = prompt[: capacity - 1]
        max_tokens = min(max_tokens, capacity - len(prompt))
        request = job(prompt, num_sequences=num_sequences, max_tokens=max_tokens, cache_salt=salt)
        self.jobs.append(Job(len(self.jobs), request, 0, 0.0))
        self.scheduler.add(self.jobs[-1])

    def step(self) -> None:
        step = self.scheduler.schedule()
        if step is None:
            return
        for source, destination in step.copies:
            for offset in range(BLOCK_SIZE):
                self.slots[destination * BLOCK_SIZE + offset] = self.slots[source * BLOCK_SIZE + offset]
        for chunk in step.chunks:
            self.evaluate(chunk.sequence, chunk.start, chunk.end)
        for sequence in step.sequences:
            self.evaluate(sequence, len(sequence.token_ids) - 1, len(sequence.token_ids))
        for chunk in step.chunks:
            self.take(chunk)
        for sequence in step.sequences:
            self.scheduler.decoded(sequence)
            self.append(sequence)
        held = {block for job in self.jobs for sequence in job.sequences for block in sequence.block_table}
        assert self.manager.num_free_blocks + len(held) == self.manager.num_blocks

    def evaluate(self, sequence: Sequence, start: int, end: int) -> None:
        assert sequence.num_computed_tokens == start < end
        for place in range(start):
            assert self.slots[self.slot(sequence, place)] == self.content(sequence, place)
        for place in range(start, end):
            self.slots[self.slot(sequence, place)] = self.content(sequence, place)

    def content(self, sequence: Sequence, place: int) -> tuple[str, tuple[int, ...]]:
        """Keys and values depend on all that stands before."""
        return sequence.job.request.cache_salt, tuple(sequence.token_ids[: place + 1])

    def slot(self, sequence: Sequence, place: int) -> int:
        return sequence.block_table[place // BLOCK_SIZE] * BLOCK_SIZE + place % BLOCK_SIZE

    def take(self, chunk: Chunk) -> None:
        for sequence in self.scheduler.prefilled(chunk):
            self.append(sequence)

    def append(self, sequence: Sequence) -> None:
        sequence.token_ids.append(sequence.index)
        if sequence.num_output_tokens == sequence.job.request.max_tokens:
            self.scheduler.finish(sequence)


# Few prompts over few tokens, so that many begin alike.
prompts = st.tuples(st.sampled_from([[0] * 30, [1, 2, 3, 4] * 8, [1, 2, 3, 4, 5] * 6]), st.integers(1, 30))
arrivals = st.tuples(
    st.just("add"), prompts, st.integers(1, 3), st.integers(1, 9), st.sampled_from(["", "", "", "other"])
)
aborts = st.tuples(st.just("abort"), st.integers(0, 30), st.none() | st.integers(0, 2))
steps = st.tuples(st.just("step"), st.integers(1, 5))


@settings(max_examples=150, deadline=None)
@given(
    num_blocks=st.integers(1, 24),
    max_num_seqs=st.integers(1, 6),
    budget=st.integers(1, 32),
    mixes=st.booleans(),
    actions=st.lists(arrivals | aborts | steps, max_size=40),
)
def test_what_is_read_is_what_was_written(
    num_blocks: int, max_num_seqs: int, budget: int, mixes: bool, actions: list[tuple[Any, ...]]
) -> None:
    simulation = Simulation(num_blocks, max_num_seqs, budget, mixes=mixes)
    for kind, *values in actions:
        if kind == "add":
            (tokens, length), num_sequences, max_tokens, salt = values
            simulation.add(tokens[:length], num_sequences, max_tokens, salt)
        elif kind == "abort" and simulation.jobs:
            simulation.scheduler.abort(simulation.jobs[values[0] % len(simulation.jobs)], values[1])
        elif kind == "step":
            for _ in range(values[0]):
                simulation.step()
    num_steps = 0
    while simulation.scheduler.has_work:
        simulation.step()
        num_steps += 1
        assert num_steps < 20000, "no end in sight"
    assert simulation.manager.num_free_blocks == num_blocks


def test_the_block_that_was_freed_longest_ago_goes_first() -> None:
    simulation = Simulation(num_blocks=8, max_num_seqs=1, budget=64)
    for token in (0, 1, 2):
        simulation.add([token] * 9, 1, 1, "")
        while simulation.scheduler.has_work:
            simulation.step()
    # Two full blocks of each prompt are known. The next one needs five, and two others have never been known.
    simulation.add([3] * 20, 1, 1, "")
    simulation.step()
    later = [Sequence(Job(9, job([token] * 9), 0, 0.0), 0, [], [token] * 9) for token in (0, 1, 2)]
    assert [len(simulation.manager.cached_blocks(each)) for each in later] == [0, 1, 2]


def test_prompts_of_one_step_wait_for_the_first_that_begins_like_them() -> None:
    simulation = Simulation(num_blocks=100, max_num_seqs=8, budget=64)
    for last in range(5):
        simulation.add([7] * 12 + [last], 1, 2, "")
    first = simulation.scheduler.schedule()
    assert first is not None
    assert [chunk.end for chunk in first.chunks] == [13]
    for chunk in first.chunks:
        simulation.evaluate(chunk.sequence, chunk.start, chunk.end)
        simulation.take(chunk)
    simulation.step()
    second = simulation.scheduler.schedule()
    assert second is not None
    assert [(chunk.start, chunk.end) for chunk in second.chunks] == [(12, 13)] * 4


SHARED = tuple((31 * place + 5) % VOCAB_SIZE for place in range(150))


def alike_jobs(**changes: Any) -> list[TokenJob]:
    """Jobs whose prompts share beginnings of many lengths, of which some end with a block or a tile."""
    lengths = (150, 16, 17, 32, 64, 65, 70, 100, 128, 144, 150)
    return [
        job((*SHARED[:length], number, *SHARED[:9]), max_tokens=12, logprobs=3, **changes)
        for number, length in enumerate(lengths)
    ]


def results(outcomes: list[Outcome]) -> list[Any]:
    return [(each.token_ids, each.logprobs) for each in outcomes]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_hits_and_chunks_change_no_bit(make_core: MakeCore, dtype: str, kernels: str) -> None:
    plain = make_core(dtype=dtype, kernels=kernels, enable_prefix_caching=False)
    expected = results(run_to_end(plain, alike_jobs()))
    for max_num_batched_tokens in (2048, 100, 37):
        core = make_core(dtype=dtype, kernels=kernels, max_num_batched_tokens=max_num_batched_tokens)
        assert results(run_to_end(core, alike_jobs())) == expected
        again = run_to_end(core, alike_jobs())
        assert results(again) == expected
        assert again[0].prefilled[0].num_cached_tokens == 144


def test_cached_tokens_are_counted(make_core: MakeCore) -> None:
    core = make_core()
    counts = [
        run_to_end(core, [each])[0].prefilled[0].num_cached_tokens
        for each in (
            job(SHARED[:64]),
            job(SHARED[:64]),
            job(SHARED[:65]),
            job((*SHARED[:40], 1, 2, 3)),
            job(SHARED[:64], prompt_logprobs=0),
            job(SHARED[:64], cache_salt="other"),
            job(SHARED[:64], cache_salt="other"),
        )
    ]
    # The last token is always evaluated: there is nothing to draw from without.
    assert counts == [0, 48, 64, 32, 0, 0, 48]


@pytest.mark.parametrize("dtype", ["float32", "int8", "int4"])
@needs_kernels
def test_a_reply_is_found_in_the_next_turn(make_core: MakeCore, dtype: str) -> None:
    """Kernels give a token the same keys and values in a prompt as when it was generated."""
    core = make_core(dtype=dtype, kernels="own")
    [first] = run_to_end(core, [job(SHARED[:40], max_tokens=60)])
    conversation = (*SHARED[:40], *first.token_ids[0], 7, 8, 9)
    [again] = run_to_end(core, [job(conversation, max_tokens=20, logprobs=3)])
    assert again.prefilled[0].num_cached_tokens == 96
    [expected] = run_to_end(make_core(dtype=dtype, kernels="own"), [job(conversation, max_tokens=20, logprobs=3)])
    assert results([again]) == results([expected])


def test_without_the_cache_nothing_is_shared(make_core: MakeCore) -> None:
    core = make_core(enable_prefix_caching=False)
    outcomes = [run_to_end(core, [job(SHARED)])[0] for _ in range(2)]
    assert [each.prefilled[0].num_cached_tokens for each in outcomes] == [0, 0]


def test_choices_of_a_cached_prompt_are_those_of_a_new_one(make_core: MakeCore) -> None:
    many = job(SHARED, num_sequences=5, max_tokens=20, sampling=sampling(temperature=1.0, seed=3))
    core = make_core()
    first, second = (run_to_end(core, [many])[0] for _ in range(2))
    assert first.token_ids == second.token_ids
    assert second.prefilled[0].num_cached_tokens == 144


def test_preempted_sequences_find_their_prompts_again(make_core: MakeCore) -> None:
    jobs = [replace(each, max_tokens=60) for each in alike_jobs()[1:5]]
    expected = run_to_end(make_core(), jobs)
    core = make_core(kv_cache_memory=14 * 16 * 2 * 2 * 2 * 16 * 4)
    found = run_to_end(core, jobs)
    assert core._scheduler.num_preemptions > 0
    assert [each.token_ids for each in found] == [each.token_ids for each in expected]
