"""Faults of the model and the sampler that requests bring about by their seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items
from typing import Any

from torch import Tensor

from portico.core.engine import TokenLogprobs
from portico.engines.native import engine_core
from portico.engines.native.drawing import Draw
from portico.engines.native.kernel_runner import KernelRunner
from portico.engines.native.logprobs import following_logprobs
from portico.engines.native.model_runner import ModelRunner
from portico.engines.native.sampler import Sampler
from portico.engines.native.scheduler import Step
from portico.engines.native.sequence import Sequence
from portico.engines.native.torch_runner import TorchRunner

# What fails, for this request alone.
PREFILL, DECODE, SAMPLE, LATE_SAMPLE, MEMORY = range(9001, 9006)
# From here on every step fails; a step never ends.
BROKEN, ENDLESS = range(9010, 9012)
# Of so many tokens, log-probabilities take too much memory.
LOGPROBS_LENGTH = 13
# Faults come with this token of the output, unless they come with the prompt.
LATE = 10


_State = dict[str, bool]


def install(patch: Callable[[Any, str, Any], None] = setattr) -> None:
    """Puts the faults where they belong."""
    for runner in (KernelRunner, TorchRunner):
        patch(runner, "evaluate", _faulty(runner.evaluate, {"is_broken": False}))
    patch(engine_core, "following_logprobs", _following_logprobs)
    patch(Sampler, "sample", _sample)


def _faulty(plain: Callable[..., Tensor], state: _State) -> Callable[..., Tensor]:
    def evaluate(self: ModelRunner, step: Step) -> Tensor:
        new = [chunk.sequence for chunk in step.chunks]
        if _has(new, PREFILL):
            raise RuntimeError("out of luck")
        if _has(new, MEMORY):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes")
        late = [each for each in step.sequences if each.num_output_tokens == LATE]
        if _has(late, ENDLESS):
            while True:
                pass
        state["is_broken"] |= _has(late, BROKEN)
        if (state["is_broken"] and step.sequences) or _has(late, DECODE):
            raise RuntimeError("out of luck")
        return plain(self, step)

    return evaluate


def _following_logprobs(
    runner: ModelRunner, hidden: Tensor, token_ids: Items[int], num_best: int
) -> list[TokenLogprobs]:
    if len(token_ids) == LOGPROBS_LENGTH - 1:
        raise MemoryError
    return following_logprobs(runner, hidden, token_ids, num_best)


_plain_sample = Sampler.sample


def _sample(self: Sampler, logits: Tensor, sequences: list[Sequence]) -> list[Draw]:
    late = [each for each in sequences if each.num_output_tokens == LATE]
    if _has(late, SAMPLE):
        raise RuntimeError("out of luck")
    draws = _plain_sample(self, logits, sequences)
    # The generators of all have moved by now.
    if _has(late, LATE_SAMPLE):
        raise RuntimeError("out of luck")
    return draws


def _has(sequences: Iterable[Sequence], seed: int) -> bool:
    return any(each.job.request.sampling.seed == seed for each in sequences)
