"""Running steps so that a failure takes as few requests with it as it can."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from portico.engines.native.drawing import Draw
from portico.engines.native.model_runner import ModelRunner
from portico.engines.native.sampler import Sampler
from portico.engines.native.scheduler import Chunk, Step
from portico.engines.native.sequence import Job, Sequence

# Is told which jobs cannot go on, and why.
Fail = Callable[[Iterable[Job], Exception], None]

_logger = logging.getLogger(__name__)


class ModelBroken(Exception):
    """Nothing can be evaluated any more, whatever the request: the process had better be a new one."""


class CarefulRunner:
    """The model and the sampler; what fails for a batch is tried again for each of its jobs alone."""

    def __init__(self, runner: ModelRunner, sampler: Sampler) -> None:
        self._runner = runner
        self._sampler = sampler
        self._num_failures = 0

    def evaluate(self, step: Step, fail: Fail) -> Iterator[tuple[Step, Tensor]]:
        """The step and its hidden states, or both for each job that can be evaluated.

        Evaluating only writes keys and values of the step's own tokens, so it can be done again.

        Raises:
            ModelBroken: all of several jobs failed alone too, or two steps failed entirely with no success between.
        """
        try:
            result = self._runner.evaluate(step)
        except Exception as error:
            _logger.exception("a step failed")
            yield from self._evaluate_apart(step, error, fail)
        else:
            self._num_failures = 0
            yield step, result

    def sample(self, logits: Tensor, sequences: list[Sequence], fail: Fail) -> tuple[list[Sequence], list[Draw]]:
        """The sequences that a token could be drawn for, and their tokens."""
        try:
            return sequences, self._sampler.sample(logits, sequences)
        except Exception as error:
            _logger.exception("drawing tokens failed")
            if len(sequences) == 1:
                fail([sequences[0].job], error)
                return [], []
        drawn: list[tuple[Sequence, Draw]] = []
        for place, sequence in enumerate(sequences):
            try:
                # The draws of the batch may have moved its generator already.
                self._sampler.renew(sequence)
                [draw] = self._sampler.sample(logits[place : place + 1], [sequence])
            except Exception as error:
                _logger.exception("drawing a token of one sequence failed")
                fail([sequence.job], error)
            else:
                drawn.append((sequence, draw))
        return [sequence for sequence, _ in drawn], [draw for _, draw in drawn]

    def _evaluate_apart(self, step: Step, error: Exception, fail: Fail) -> Iterator[tuple[Step, Tensor]]:
        parts = _split(step)
        failed: list[tuple[Job, Exception]] = []
        if len(parts) == 1:
            failed = [(job, error) for job in parts]
        else:
            for job, part in parts.items():
                try:
                    result = self._runner.evaluate(part)
                except Exception as own:
                    _logger.exception("a step of one job failed")
                    failed.append((job, own))
                else:
                    yield part, result
        if len(failed) < len(parts):
            self._num_failures = 0
        elif not any(_is_out_of_memory(each) for _, each in failed):
            self._num_failures += len(parts)
            if self._num_failures > 1:
                raise ModelBroken from error
        for job, reason in failed:
            fail([job], reason)


def _split(step: Step) -> dict[Job, Step]:
    """The step's work for each of its jobs."""
    chunks: dict[Job, list[Chunk]] = {}
    for chunk in step.chunks:
        chunks.setdefault(chunk.sequence.job, []).append(chunk)
    sequences: dict[Job, list[Sequence]] = {}
    for sequence in step.sequences:
        sequences.setdefault(sequence.job, []).append(sequence)
    parts: dict[Job, Step] = {}
    for job in [*sequences, *(job for job in chunks if job not in sequences)]:
        members = sequences.get(job, [])
        blocks = {block for member in members for block in member.block_table}
        copies = tuple(copy for copy in step.copies if copy[1] in blocks)
        parts[job] = Step(tuple(chunks.get(job, ())), tuple(members), copies)
    return parts


def _is_out_of_memory(error: Exception) -> bool:
    """Whether a smaller request could have been served; torch has no class of its own for this on a CPU."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
