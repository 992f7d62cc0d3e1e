"""Runs an engine core without a process around it."""

from __future__ import annotations

from collections.abc import Iterable

from portico.core.engine import TokenJob, TokensGenerated
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.messages import StepDone
from tests.engines.native.jobs import Outcome


def deliver(step: StepDone, outcomes: dict[int, Outcome]) -> None:
    """Sorts what one step gave into the outcomes by handle."""
    for handle, prefilled in step.prefilled:
        outcomes[handle].feed(prefilled)
    for handle, index, token_id, logprobs in zip(
        step.handles, step.indices, step.token_ids, step.logprobs, strict=True
    ):
        outcomes[handle].feed(TokensGenerated(index, (token_id,), () if logprobs is None else (logprobs,)))
    for handle, finished in step.finished:
        outcomes[handle].feed(finished)
    for failure in step.failed:
        outcomes[failure.handle].failure = failure.reason


def drain(core: EngineCore, outcomes: dict[int, Outcome]) -> None:
    """Steps until nothing is left."""
    while core.has_work:
        deliver(core.step(), outcomes)


def run_to_end(core: EngineCore, jobs: Iterable[TokenJob]) -> list[Outcome]:
    """Queues all jobs at once and steps until nothing is left."""
    outcomes: dict[int, Outcome] = {}
    for handle, each in enumerate(jobs):
        outcomes[handle] = Outcome()
        core.add(handle, each)
    deliver(core.step(), outcomes)
    drain(core, outcomes)
    assert not core.jobs
    return list(outcomes.values())
