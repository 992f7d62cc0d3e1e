"""Scheduler and block manager under random arrivals, lengths and aborts; no model is needed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from portico.engines.native.block_manager import BlockManager
from portico.engines.native.scheduler import Chunk, Scheduler
from portico.engines.native.sequence import Job, Sequence
from tests.engines.native.jobs import job

BLOCK_SIZE = 4


class Simulation:
    """A worker whose model gives token 0, and which checks what it is told to do."""

    def __init__(self, num_blocks: int, max_num_seqs: int, budget: int, *, mixes: bool = False) -> None:
        self.manager = BlockManager(num_blocks, BLOCK_SIZE)
        self.scheduler = Scheduler(self.manager, max_num_seqs, budget, mixes=mixes)
        self.mixes = mixes
        self.max_num_seqs = max_num_seqs
        self.budget = budget
        self.jobs: list[Job] = []
        self.num_finished = 0

    def add(self, num_prompt_tokens: int, num_sequences: int, max_tokens: int, owner: str = "") -> Job:
        capacity = self.manager.num_blocks * BLOCK_SIZE
        num_prompt_tokens = min(num_prompt_tokens, capacity - 1)
        max_tokens = min(max_tokens, capacity - num_prompt_tokens)
        request = job([1] * num_prompt_tokens, num_sequences=num_sequences, max_tokens=max_tokens, owner=owner)
        self.jobs.append(Job(len(self.jobs), request, 0, 0.0))
        self.scheduler.add(self.jobs[-1])
        return self.jobs[-1]

    def step(self) -> None:
        step = self.scheduler.schedule()
        if step is None:
            assert not self.scheduler.has_work
            return
        assert step.chunks or step.sequences
        assert self.mixes or not (step.chunks and step.sequences)
        assert step.num_chunk_tokens <= self.budget
        for chunk in step.chunks:
            self.check_chunk(chunk)
        written = [self.block_to_write(sequence) for sequence in step.sequences]
        written += [block for chunk in step.chunks for block in self.blocks_to_write(chunk)]
        assert len(set(written)) == len(written), "two sequences write one block"
        assert len({destination for _, destination in step.copies}) == len(step.copies)
        for sequence in step.sequences:
            assert sequence.num_computed_tokens == len(sequence.token_ids) - 1
        ready = [sequence for chunk in step.chunks for sequence in self.scheduler.prefilled(chunk)]
        for sequence in step.sequences:
            self.scheduler.decoded(sequence)
        for sequence in [*ready, *step.sequences]:
            self.append(sequence)
        assert len(self.scheduler.running) <= self.max_num_seqs
        assert len(self.scheduler._prefilling) <= 1
        self.check_blocks()

    def check_chunk(self, chunk: Chunk) -> None:
        assert chunk.start == chunk.sequence.num_computed_tokens
        assert chunk.start % self.budget == 0
        assert chunk.start < chunk.end <= len(chunk.sequence.token_ids)
        assert len(chunk.sequence.block_table) * BLOCK_SIZE >= chunk.end

    def blocks_to_write(self, chunk: Chunk) -> list[int]:
        return chunk.sequence.block_table[chunk.start // BLOCK_SIZE : -(-chunk.end // BLOCK_SIZE)]

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


arrivals = st.tuples(
    st.just("add"), st.integers(1, 40), st.integers(1, 5), st.integers(1, 12), st.sampled_from(["", "", "a", "b", "c"])
)
aborts = st.tuples(st.just("abort"), st.integers(0, 30), st.none() | st.integers(0, 4), st.just(0), st.just(""))
steps = st.tuples(st.just("step"), st.integers(1, 5), st.just(0), st.just(0), st.just(""))


@settings(max_examples=150, deadline=None)
@given(
    num_blocks=st.integers(1, 24),
    max_num_seqs=st.integers(1, 6),
    budget=st.integers(1, 32),
    mixes=st.booleans(),
    actions=st.lists(arrivals | aborts | steps, max_size=40),
)
def test_everything_ends_and_no_block_is_lost(
    num_blocks: int, max_num_seqs: int, budget: int, mixes: bool, actions: list[tuple[str, int, int | None, int, str]]
) -> None:
    simulation = Simulation(num_blocks, max_num_seqs, budget, mixes=mixes)
    for kind, first, second, third, owner in actions:
        if kind == "add":
            simulation.add(first, second or 1, third, owner)
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
    assert step is not None
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
        assert step is not None
        if step.chunks:
            ends += [chunk.end for chunk in step.chunks]
            simulation.scheduler.prefilled(step.chunks[0])
        else:
            simulation.scheduler.decoded(step.sequences[0])
            simulation.append(step.sequences[0])
    assert ends == [8, 16, 20]


def test_prompts_join_the_step_of_running_sequences() -> None:
    simulation = Simulation(num_blocks=100, max_num_seqs=8, budget=64, mixes=True)
    simulation.scheduler.prefill_budget = 8
    simulation.add(4, 1, 10)
    simulation.step()
    simulation.add(20, 1, 5)
    ends = []
    for _ in range(3):
        step = simulation.scheduler.schedule()
        assert step is not None
        assert len(step.sequences) == 1
        ends += [chunk.end for chunk in step.chunks]
        simulation.scheduler.prefilled(step.chunks[0])
        simulation.scheduler.decoded(step.sequences[0])
        simulation.append(step.sequences[0])
    assert ends == [8, 16, 20]
    assert len(simulation.scheduler.running) == 2


def test_forked_sequences_share_full_blocks_and_copy_the_last() -> None:
    simulation = Simulation(num_blocks=100, max_num_seqs=8, budget=64)
    simulation.add(10, 3, 5)
    simulation.step()
    assert simulation.manager.num_free_blocks == 97
    step = simulation.scheduler.schedule()
    assert step is not None
    # The last of the three keeps the block that the others copied.
    assert len(step.copies) == 2
    assert simulation.manager.num_free_blocks == 95
    assert len({tuple(sequence.block_table[:2]) for sequence in step.sequences}) == 1


def test_owners_have_equal_shares_and_a_prompt_that_is_half_done_stays_first() -> None:
    scheduler = Scheduler(BlockManager(64, BLOCK_SIZE), 1, 4)
    arrivals = [("a", 6), ("a", 2), ("a", 2), ("b", 2), ("c", 2), ("b", 2)]

    def add(handle: int, owner: str, num_prompt_tokens: int) -> None:
        request = job([1] * num_prompt_tokens, max_tokens=1, owner=owner)
        scheduler.add(Job(handle, request, 0, 0.0))

    add(0, *arrivals[0])
    begun: list[int] = []
    while scheduler.has_work:
        step = scheduler.schedule()
        assert step is not None
        for chunk in step.chunks:
            begun.append(chunk.sequence.job.handle)
            for sequence in scheduler.prefilled(chunk):
                scheduler.finish(sequence)
        if len(begun) == 1:
            for handle, (owner, num_prompt_tokens) in enumerate(arrivals[1:], 1):
                add(handle, owner, num_prompt_tokens)
    assert begun == [0, 0, 1, 3, 4, 2, 5]


def test_an_owner_without_a_place_is_given_one_of_another_that_has_several() -> None:
    simulation = Simulation(num_blocks=1000, max_num_seqs=4, budget=64)
    busy = [simulation.add(8, 1, 500, "busy") for _ in range(6)]
    for _ in range(10):
        simulation.step()
    other = simulation.add(8, 1, 5, "other")
    second = simulation.add(8, 1, 5, "other")
    simulation.step()
    simulation.step()
    running = simulation.scheduler.running
    assert [each.job for each in running] == [*busy[:3], other]
    # A single place is given, to whom has none; what made way is the next of its owner.
    assert simulation.scheduler.num_preemptions == 1
    waiting = [each.job for each in simulation.scheduler.waiting if each.owner == "busy"]
    assert waiting == [busy[3], *busy[4:]]
    while other.sequences:
        simulation.step()
    assert second.sequences[0] in [*running, *simulation.scheduler.waiting]
    while second.sequences:
        simulation.step()
    assert simulation.scheduler.num_preemptions == 1


def test_an_owner_without_a_place_is_given_the_blocks_that_it_needs() -> None:
    simulation = Simulation(num_blocks=40, max_num_seqs=8, budget=64)
    for _ in range(4):
        simulation.add(30, 1, 8, "busy")
    while len(simulation.scheduler.running) < 4:
        simulation.step()
    other = simulation.add(30, 1, 2, "other")
    for _ in range(2):
        simulation.step()
    assert other.sequences[0] in simulation.scheduler.running
    assert simulation.scheduler.num_preemptions == 1


def test_a_wide_job_that_would_not_fit_in_the_end_makes_nobody_give_way() -> None:
    simulation = Simulation(num_blocks=1000, max_num_seqs=4, budget=64)
    for _ in range(4):
        simulation.add(8, 1, 50, "busy")
    simulation.step()
    simulation.add(8, 4, 5, "other")
    for _ in range(10):
        simulation.step()
    assert simulation.scheduler.num_preemptions == 0
    assert len(simulation.scheduler.running) == 4


def test_sequences_make_way_by_turns() -> None:
    simulation = Simulation(num_blocks=1000, max_num_seqs=3, budget=64)
    busy = [simulation.add(8, 1, 400, "busy") for _ in range(3)]
    simulation.step()
    for _ in range(12):
        other = simulation.add(8, 1, 5, "other")
        while other.sequences:
            simulation.step()
        for _ in range(3):
            simulation.step()
    assert [each.sequences[0].num_displacements for each in busy] == [4, 4, 4]


@settings(max_examples=100, deadline=None)
@given(
    num_busy=st.integers(1, 3),
    max_num_seqs=st.integers(4, 8),
    num_prompt_tokens=st.integers(1, 40),
    lengths=st.lists(st.integers(1, 400), min_size=1, max_size=10),
    num_before=st.integers(0, 60),
)
def test_nobody_starves(
    num_busy: int, max_num_seqs: int, num_prompt_tokens: int, lengths: list[int], num_before: int
) -> None:
    """An owner's first request runs within a few steps, however much the others have and go on asking for."""
    simulation = Simulation(num_blocks=1000, max_num_seqs=max_num_seqs, budget=64)

    def keep_busy() -> None:
        for number in range(num_busy):
            for length in lengths:
                if simulation.scheduler.stats().num_waiting < 30:
                    simulation.add(1 + length % 40, 1, length, f"busy-{number}")

    for _ in range(num_before):
        keep_busy()
        simulation.step()
    keep_busy()
    other = simulation.add(num_prompt_tokens, 1, 3, "other")
    [sequence] = other.sequences
    num_steps = 0
    while sequence not in simulation.scheduler.running and sequence in other.sequences:
        keep_busy()
        simulation.step()
        num_steps += 1
    # A step each for what is half done, for a prompt of each of those served as much, and for decoding between them.
    assert num_steps <= 4 + 2 * num_busy
    while other.sequences:
        keep_busy()
        simulation.step()
    for each in simulation.jobs:
        simulation.scheduler.abort(each, None)
    assert not simulation.scheduler.has_work
    assert simulation.manager.num_free_blocks == 1000
