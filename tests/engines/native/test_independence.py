"""What a request is answered is the same alone on a new engine and beside anything else, and nothing is left behind."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.core.engine import SequenceFinished, TokenJob
from portico.core.model import ModelInfo
from portico.engines.native.block_manager import BlockManager
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.sampler import Sampler
from portico.engines.native.scheduler import Scheduler
from tests.engines.native.core_driver import deliver, drain, run_to_end
from tests.engines.native.hash_runner import VOCAB_SIZE, HashRunner
from tests.engines.native.jobs import Outcome, job, sampling

MAX_MODEL_LEN = 64

# Few beginnings, so that many prompts have one in common, and some that repeat themselves.
_BEGINNINGS = ([1, 2, 3, 4, 5, 6, 7], [0], [8, 9, 10])
_ACTIONS = ("add", "add", "add", "step", "step", "abort", "continue", "budget", "stumble")


def random_job(chooser: random.Random) -> TokenJob:
    """Of what changes how tokens are drawn mostly little."""
    choice = chooser.choice
    end = [chooser.randrange(VOCAB_SIZE) for _ in range(choice([0, 1, 2]))]
    return job(
        (choice(_BEGINNINGS) * 40)[: chooser.randint(1, 38)] + end,
        num_sequences=choice([1, 2, 3]),
        max_tokens=choice([24, 8, 2, 1, 0]),
        min_tokens=choice([0, 0, 4]),
        stop_token_ids=choice([frozenset(), frozenset((3,)), frozenset((3, 7, 99))]),
        logprobs=choice([None, 0, 2, VOCAB_SIZE]),
        prompt_logprobs=choice([None, None, None, None, 0, 2]),
        processed_logprobs=choice([False, True]),
        cache_salt=choice(["", "", "other"]),
        owner=choice(["", "", "one", "two"]),
        sampling=sampling(
            temperature=choice([0.0, 1.0, 3.0]),
            seed=choice([0, 7, 2**63, 2**64 - 1]),
            top_k=choice([0, 0, 3]),
            top_p=choice([1.0, 1.0, 0.8]),
            min_p=choice([0.0, 0.0, 0.1]),
            typical_p=choice([1.0, 1.0, 0.7]),
            repetition_penalty=choice([1.0, 1.0, 1.3]),
            frequency_penalty=choice([0.0, 0.0, 0.5]),
            allowed_token_ids=choice([None, None, (1, 2, 3, 11)]),
            banned_sequences=choice([(), (), ((5,), (1, 2)), ((1, 1), (2, 1, 2), (11, 3))]),
        ),
    )


def core_over(runner: HashRunner, scheduler: Scheduler) -> EngineCore:
    info = ModelInfo("none", "none", "cpu", VOCAB_SIZE, MAX_MODEL_LEN, (3,), 1)
    return EngineCore(info, scheduler, runner, Sampler(VOCAB_SIZE, torch.device("cpu"), runner.drawing))


def alone(request: TokenJob) -> Outcome:
    """By an engine with nothing that makes steps share anything."""
    scheduler = Scheduler(BlockManager(3 * MAX_MODEL_LEN, 16), 8, 2048)
    [outcome] = run_to_end(core_over(HashRunner(3 * MAX_MODEL_LEN, 16), scheduler), [request])
    return outcome


@dataclass
class Load:
    """An engine that is given this and that, and what it has said."""

    core: EngineCore
    jobs: dict[int, TokenJob] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    aborted: set[tuple[int, int]] = field(default_factory=set)

    def add(self, request: TokenJob) -> None:
        handle = len(self.jobs)
        self.jobs[handle], self.outcomes[handle] = request, Outcome()
        self.core.add(handle, request)

    def abort(self, handle: int, index: int | None) -> None:
        ended = self.outcomes[handle].finished
        indices = range(self.jobs[handle].num_sequences) if index is None else (index,)
        self.aborted |= {(handle, each) for each in indices if each not in ended}
        self.core.abort(handle, index)

    def go_on(self, handle: int, request: TokenJob) -> None:
        """The next turn of a conversation."""
        before = (*self.jobs[handle].token_ids, *self.outcomes[handle].token_ids.get(0, ()))
        room = MAX_MODEL_LEN - request.max_tokens - 1
        self.add(replace(request, token_ids=(*before[:room], request.token_ids[-1])))

    def step(self, num_steps: int) -> None:
        for _ in range(num_steps):
            deliver(self.core.step(), self.outcomes)

    def check(self) -> None:
        """Nothing is left, and everything is what it is alone."""
        drain(self.core, self.outcomes)
        manager = self.core._scheduler._block_manager
        assert not self.core.jobs
        assert manager.num_free_blocks == manager.num_blocks
        assert not any(manager._num_owners)
        for handle, request in self.jobs.items():
            self.compare(handle, request, alone(request))

    def compare(self, handle: int, request: TokenJob, expected: Outcome) -> None:
        found = self.outcomes[handle]
        assert found.failure is expected.failure is None
        for one, other in zip(found.prefilled, expected.prefilled, strict=False):
            assert one.logprobs == other.logprobs
            assert one.num_cached_tokens < len(request.token_ids)
            assert not one.num_cached_tokens or request.prompt_logprobs is None
        for index in range(request.num_sequences):
            tokens, logprobs = found.token_ids.get(index, []), found.logprobs.get(index, [])
            assert tokens == expected.token_ids.get(index, [])[: len(tokens)]
            assert logprobs == expected.logprobs.get(index, [])[: len(logprobs)]
            if (handle, index) in self.aborted:
                assert index not in found.finished
            else:
                assert len(found.prefilled) == 1
                assert len(tokens) == len(expected.token_ids.get(index, []))
                assert end(found.finished[index]) == end(expected.finished[index])


def end(finished: SequenceFinished) -> tuple[Any, ...]:
    return finished.reason, finished.stop_token_id, finished.seed


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_company_changes_nothing(seed: int) -> None:
    chooser = random.Random(seed)
    choice = chooser.choice
    block_size = choice([1, 3, 4, 16])
    num_blocks = -(-MAX_MODEL_LEN // block_size) + choice([0, 0, 1, 2, 4, 12])
    scheduler = Scheduler(
        BlockManager(num_blocks, block_size, caches_prefixes=choice([True, True, False])),
        max_num_seqs=chooser.randint(1, 6),
        max_num_batched_tokens=choice([1, 7, 64, 2048]),
        mixes=True,
        caches_outputs=True,
        max_drafted=choice([0, 1, 4, 9]),
    )
    runner = HashRunner(num_blocks, block_size)
    load = Load(core_over(runner, scheduler))
    for _ in range(chooser.randint(5, 40)):
        match choice(_ACTIONS):
            case "add":
                load.add(random_job(chooser))
            case "step":
                load.step(chooser.randint(1, 6))
            case "abort" if load.jobs:
                handle = chooser.randrange(len(load.jobs))
                load.abort(handle, choice([None, *range(load.jobs[handle].num_sequences)]))
            case "continue" if load.jobs:
                load.go_on(chooser.randrange(len(load.jobs)), random_job(chooser))
            case "budget":
                scheduler.prefill_budget = scheduler.budget_alone = choice([1, 5, 16, 64])
            case "stumble":
                runner.stumbles = True
    load.check()
