"""Scheduler and block manager under random arrivals, lengths and aborts; no model is needed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from portico.engines.native.block_manager import BlockManager
from portico.engines.native.scheduler import Chunk, DecodeStep, PrefillStep, Scheduler
from portico.engines.native.sequence import Job, Sequence
from tests.engines.native.jobs import job

BLOCK_SIZE = 4


class Simulation:
    """A worker whose model gives token 0, and which checks what it is told to do."""

    def __init__(self, num_blocks: int, max_num_seqs: int, budget: int) -> None:
        self.manager = BlockManager(num_blocks, BLOCK_SIZE)
        self.scheduler = Scheduler(self.manager, max_num_seqs, budget)
        self.max_num_seqs = max_num_seqs
        self.budget = budget
        self.jobs: list[Job] = []
        self.num_finished = 0

    def add(self, num_prompt_tokens: int, num_sequences: int, max_tokens: int) -> None:
        capacity = self.manager.num_blocks * BLOCK_SIZE
        num_prompt_tokens = min(num_prompt_tokens, capacity - 1)
        max_tokens = min(max_tokens, capacity - num_prompt_tokens)
        request = job([1] * num_prompt_tokens, num_sequences=num_sequences, max_tokens=max_tokens)
        self.jobs.append(Job(len(self.jobs), request, 0, 0.0))
        self.scheduler.add(self.jobs[-1])

    def step(self) -> None:
        match self.scheduler.schedule():
            case PrefillStep(chunks):
                assert sum(chunk.end - chunk.start for chunk in chunks) <= self.budget
                for chunk in chunks:
                    self.check_chunk(chunk)
                for chunk in chunks:
                    for sequence in self.scheduler.prefilled(chunk):
                        self.append(sequence)
            case DecodeStep(sequences, copies):
                assert sequences
                written = [self.block_to_write(sequence) for sequence in sequences]
                assert len(set(written)) == len(written), "two sequences write one block"
                assert len({destination for _, destination in copies}) == len(copies)
                for sequence in sequences:
                    assert sequence.num_computed_tokens == len(sequence.token_ids) - 1
                    self.scheduler.decoded(sequence)
                    self.append(sequence)
        assert len(self.scheduler.running) <= self.max_num_seqs
        self.check_blocks()

    def check_chunk(self, chunk: Chunk) -> None:
        assert chunk.start == chunk.sequence.num_computed_tokens
        assert chunk.start % self.budget == 0
        assert chunk.start < chunk.end <= len(chunk.sequence.token_ids)
        assert len(chunk.sequence.block_table) * BLOCK_SIZE >= chunk.end

    def block_to_write(self, sequence: Sequence) -> int:
        return sequence.block_table[sequence.num_computed_tokens // BLOCK_SIZE]

    def append(self, sequence: Sequence) -> None:
        sequence.token_ids.append(0)
        if sequence.num_output_tokens == sequence.job.request.max_tokens:
            self.scheduler.finish(sequence)
            self.num_finished += 1

    def check_blocks(self) -> None:
        held = {block for job in self.jobs for sequence in job.sequences for block in sequence.block_table}
        assert self.manager.num_free_blocks + len(held) == self.manager.num_blocks


arrivals = st.tuples(st.just("add"), st.integers(1, 40), st.integers(1, 5), st.integers(1, 12))
aborts = st.tuples(st.just("abort"), st.integers(0, 30), st.none() | st.integers(0, 4), st.just(0))
steps = st.tuples(st.just("step"), st.integers(1, 5), st.just(0), st.just(0))


@settings(max_examples=150, deadline=None)
@given(
    num_blocks=st.integers(1, 24),
    max_num_seqs=st.integers(1, 6),
    budget=st.integers(1, 32),
    actions=st.lists(arrivals | aborts | steps, max_size=40),
)
def test_everything_ends_and_no_block_is_lost(
    num_blocks: int, max_num_seqs: int, budget: int, actions: list[tuple[str, int, int | None, int]]
) -> None:
    simulation = Simulation(num_blocks, max_num_seqs, budget)
    for kind, first, second, third in actions:
        if kind == "add":
            simulation.add(first, second or 1, third)
        elif kind == "abort" and simulation.jobs:
            simulation.scheduler.abort(simulation.jobs[first % len(simulation.jobs)], second)
        elif kind == "step":
            for _ in range(first):
                simulation.step()
    num_steps = 0
    while simulation.scheduler.has_work:
        simulation.step()
        num_steps += 1
        assert num_steps < 20000, "no end in sight"
    assert all(not job.sequences for job in simulation.jobs)
    assert simulation.manager.num_free_blocks == num_blocks


def test_jobs_start_in_the_order_of_arrival() -> None:
    simulation = Simulation(num_blocks=100, max_num_seqs=2, budget=64)
    for _ in range(4):
        simulation.add(8, 1, 5)
    seen: list[Job] = []
    while simulation.scheduler.has_work:
        simulation.step()
        seen += [each.job for each in simulation.scheduler.running if each.job not in seen]
    assert seen == simulation.jobs


def test_several_prompts_are_prefilled_in_one_step() -> None:
    simulation = Simulation(num_blocks=100, max_num_seqs=8, budget=30)
    for _ in range(4):
        simulation.add(10, 1, 5)
    step = simulation.scheduler.schedule()
    assert isinstance(step, PrefillStep)
    assert len(step.chunks) == 3


def test_a_long_prompt_is_cut_finer_while_others_decode() -> None:
    simulation = Simulation(num_blocks=100, max_num_seqs=8, budget=64)
    simulation.scheduler.prefill_budget = 8
    simulation.add(4, 1, 10)
    simulation.step()
    simulation.add(20, 1, 5)
    ends = []
    for _ in range(6):
        step = simulation.scheduler.schedule()
        if isinstance(step, PrefillStep):
            ends += [chunk.end for chunk in step.chunks]
            simulation.scheduler.prefilled(step.chunks[0])
        else:
            assert isinstance(step, DecodeStep)
            simulation.scheduler.decoded(step.sequences[0])
            simulation.append(step.sequences[0])
    assert ends == [8, 16, 20]


def test_forked_sequences_share_full_blocks_and_copy_the_last() -> None:
    simulation = Simulation(num_blocks=100, max_num_seqs=8, budget=64)
    simulation.add(10, 3, 5)
    simulation.step()
    assert simulation.manager.num_free_blocks == 97
    step = simulation.scheduler.schedule()
    assert isinstance(step, DecodeStep)
    # The last of the three keeps the block that the others copied.
    assert len(step.copies) == 2
    assert simulation.manager.num_free_blocks == 95
    assert len({tuple(sequence.block_table[:2]) for sequence in step.sequences}) == 1


def test_owners_take_turns_and_a_prompt_that_is_half_done_stays_first() -> None:
    scheduler = Scheduler(BlockManager(64, BLOCK_SIZE), 1, 4)
    arrivals = [("a", 6), ("a", 2), ("a", 2), ("b", 2), ("c", 2), ("b", 2)]

    def add(handle: int, owner: str, num_prompt_tokens: int) -> None:
        request = job([1] * num_prompt_tokens, max_tokens=1, owner=owner)
        scheduler.add(Job(handle, request, 0, 0.0))

    add(0, *arrivals[0])
    begun: list[int] = []
    while scheduler.has_work:
        step = scheduler.schedule()
        assert isinstance(step, PrefillStep)
        for chunk in step.chunks:
            begun.append(chunk.sequence.job.handle)
            for sequence in scheduler.prefilled(chunk):
                scheduler.finish(sequence)
        if len(begun) == 1:
            for handle, (owner, num_prompt_tokens) in enumerate(arrivals[1:], 1):
                add(handle, owner, num_prompt_tokens)
    assert begun == [0, 0, 3, 4, 1, 5, 2]
