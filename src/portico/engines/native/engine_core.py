"""The heart of the worker: jobs go in, each step gives what happened to them."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable

from torch import Tensor

from portico.core.engine import PromptPrefilled, SequenceFinished, TokenJob
from portico.core.events import FinishReason, Timings
from portico.core.model import EngineStats, ModelInfo
from portico.engines.native.careful import CarefulRunner
from portico.engines.native.compilation import Compilation
from portico.engines.native.drawing import Draw
from portico.engines.native.grammar import GrammarCompiler, GrammarError
from portico.engines.native.logprobs import following_logprobs
from portico.engines.native.messages import Failure, StepDone
from portico.engines.native.model_runner import ModelRunner
from portico.engines.native.pace import PrefillPace
from portico.engines.native.patience import Patience
from portico.engines.native.restriction import leaves_nothing
from portico.engines.native.sampler import Sampler, takes_best
from portico.engines.native.scheduler import Chunk, Scheduler, Step
from portico.engines.native.sequence import Job, Sequence

_logger = logging.getLogger(__name__)


class EngineCore:
    """Jobs, scheduler, runner and sampler together; one thread drives it.

    `on_scheduled` is told which jobs leave the queue, before the step that begins with them.
    """

    def __init__(self, info: ModelInfo, scheduler: Scheduler, runner: ModelRunner, sampler: Sampler) -> None:
        self.jobs: dict[int, Job] = {}
        self.grammars = GrammarCompiler(info.vocab_size, info.eos_token_ids)
        self._compilation = Compilation(self.grammars)
        self.on_scheduled: Callable[[tuple[int, ...]], None] = lambda handles: None
        self._info = info
        self._scheduler = scheduler
        self._runner = runner
        self._careful = CarefulRunner(runner, sampler)
        self._pace = PrefillPace()
        self._patience = Patience(runner.config, info.num_parameters)
        scheduler.budget_alone = self._pace.budget_alone
        self._done = StepDone()
        self._last_stats: EngineStats | None = None

    @property
    def has_work(self) -> bool:
        """Whether a step would do something."""
        return self._scheduler.has_work or bool(self._compilation)

    @property
    def max_stillness(self) -> float:
        """Seconds that the step that was begun last may go without progress; any thread may ask."""
        return self._patience.seconds

    def progress(self) -> object:
        """Whether a step gets on; see `ModelRunner`."""
        return self._runner.progress()

    def add(self, handle: int, request: TokenJob) -> None:
        """Queues a job; one that cannot be run fails with the next step."""
        problem = self._problem(request)
        if problem is not None:
            self._done.failed.append(Failure(handle, problem))
            return
        seed = request.sampling.seed
        job = Job(handle, request, secrets.randbits(63) if seed is None else seed, time.monotonic())
        self.jobs[handle] = job
        if not self._compilation.add(job):
            self._scheduler.add(job)

    def abort(self, handle: int, index: int | None) -> None:
        """Ends one sequence or the whole job without further events; unknown ones have ended already."""
        job = self.jobs.get(handle)
        if job is None:
            return
        if self._compilation.has(handle):
            self._compilation.abort(handle, index)
            if not self._compilation.has(handle):
                del self.jobs[handle]
            return
        self._scheduler.abort(job, index)
        self._drop_if_ended(job)

    def step(self) -> StepDone:
        """Runs one step, if there is anything to do, and gives all that happened since the last.

        Raises:
            ModelBroken: no step can be run any more.
        """
        self._take_compiled()
        scheduler = self._scheduler
        scheduler.prefill_budget = self._pace.budget(scheduler.num_waiting, len(scheduler.running))
        step = scheduler.schedule()
        if step is not None:
            self._patience.begin(step)
            started_at = time.monotonic()
            self._begin(step.chunks, started_at)
            for part, hidden in self._careful.evaluate(step, self._fail):
                if part is step:
                    self._patience.note(time.monotonic() - started_at)
                self._evaluated(part, hidden)
            self._pace.note(step.num_chunk_tokens, len(step.sequences), time.monotonic() - started_at)
            scheduler.budget_alone = self._pace.budget_alone
        done, self._done = self._done, StepDone()
        stats = scheduler.stats()
        if stats != self._last_stats:
            done.stats = self._last_stats = stats
        return done

    def _take_compiled(self) -> None:
        if not self._compilation:
            return
        for job, aborted, error in self._compilation.take_ready(waits=not self._scheduler.has_work):
            if error is not None:
                self.jobs.pop(job.handle)
                self._done.failed.append(_failure(job, error))
                continue
            self._scheduler.add(job)
            for index in aborted:
                self._scheduler.abort(job, index)

    def _problem(self, request: TokenJob) -> str | None:
        """Why a request cannot be run at all."""
        vocab_size = self._info.vocab_size
        sampling = request.sampling
        ids = [*request.token_ids, *(sampling.allowed_token_ids or ())]
        ids += [token_id for token_id, _ in sampling.logit_bias]
        ids += [token_id for banned in sampling.banned_sequences for token_id in banned]
        strange = next((token_id for token_id in ids if not 0 <= token_id < vocab_size), None)
        if strange is not None:
            return f"The token id {strange} is outside the model's vocabulary of {vocab_size} tokens."
        if not request.token_ids or request.num_sequences < 1:
            return "A job needs at least one prompt token and one sequence."
        if leaves_nothing(sampling, request.stop_token_ids if request.min_tokens else (), vocab_size):
            return "The allowed and banned tokens leave none that could be generated."
        num_tokens = len(request.token_ids) + request.max_tokens
        if num_tokens > self._info.max_model_len:
            return (
                f"Prompt and output of {num_tokens} tokens do not fit the engine's "
                f"{self._info.max_model_len} tokens of context."
            )
        return None

    def _begin(self, chunks: tuple[Chunk, ...], now: float) -> None:
        new = [chunk.sequence for chunk in chunks if chunk.sequence.scheduled_at is None]
        if new:
            for sequence in new:
                sequence.scheduled_at = now
            self.on_scheduled(tuple(sequence.job.handle for sequence in new))

    def _evaluated(self, step: Step, hidden: Tensor) -> None:
        """Draws the next token of the sequences of a step, and of those whose prompts are complete with it."""
        ready, rows = self._prefilled(step.chunks, hidden)
        first = step.num_chunk_tokens
        if step.drafts:
            self._follow(step, hidden)
            return
        for sequence in step.sequences:
            self._scheduler.decoded(sequence)
        drawing = [*ready, *step.sequences]
        rows += range(first, first + len(step.sequences))
        if not drawing:
            return
        if all(takes_best(each) for each in drawing):
            self._take(drawing, [Draw(token_id, None) for token_id in self._runner.best(hidden, rows)])
        else:
            self._take(*self._careful.sample(self._runner.logits(hidden, rows), drawing, self._fail))

    def _prefilled(self, chunks: tuple[Chunk, ...], hidden: Tensor) -> tuple[list[Sequence], list[int]]:
        """The sequences whose first token can be drawn, and the rows of hidden states that it comes from."""
        ready: list[Sequence] = []
        rows: list[int] = []
        first = 0
        for chunk in chunks:
            last = first + chunk.end - chunk.start
            job = chunk.sequence.job
            if not job.is_prefilled and job.request.prompt_logprobs is not None:
                try:
                    self._gather_prompt_logprobs(chunk, hidden[first:last], job.request.prompt_logprobs)
                except Exception as error:
                    _logger.exception("log-probabilities of a prompt failed")
                    self._fail([job], error)
                    first = last
                    continue
            forked = self._scheduler.prefilled(chunk)
            if forked and not job.is_prefilled:
                job.is_prefilled = True
                self._done.prefilled.append((job.handle, _prefilled(chunk.sequence, time.monotonic())))
            ready += forked
            rows += [last - 1] * len(forked)
            first = last
        for sequence in [each for each in ready if not each.job.request.max_tokens]:
            self._finish(sequence, FinishReason.LENGTH, None, time.monotonic())
        drawing = [(each, row) for each, row in zip(ready, rows, strict=True) if each.job.request.max_tokens]
        return [each for each, _ in drawing], [row for _, row in drawing]

    def _follow(self, step: Step, hidden: Tensor) -> None:
        """Draws a token of each sequence, and another one for as long as what is drawn is what was guessed."""
        sequences, drafts = step.sequences, step.drafts
        logits = self._runner.logits(hidden, list(range(len(hidden))))
        firsts = [sum(1 + len(draft) for draft in drafts[:place]) for place in range(len(drafts))]
        num_right = [0] * len(drafts)
        going = list(range(len(sequences)))
        while going:
            members = [sequences[place] for place in going]
            for sequence in members:
                self._scheduler.decoded(sequence)
            rows = [firsts[place] + num_right[place] for place in going]
            self._take(*self._careful.sample(logits[rows], members, self._fail))
            going = [place for place in going if _is_right(sequences[place], drafts[place][num_right[place] :])]
            for place in going:
                num_right[place] += 1
        for sequence, draft, right in zip(sequences, drafts, num_right, strict=True):
            if draft:
                self._scheduler.followed(sequence, len(draft), right)

    def _gather_prompt_logprobs(self, chunk: Chunk, hidden: Tensor, num_best: int) -> None:
        job = chunk.sequence.job
        if chunk.start == 0:
            # Also after a preemption half way, which starts over.
            job.prompt_logprobs = [None]
        followers = job.request.token_ids[chunk.start + 1 : chunk.end + 1]
        if followers:
            job.prompt_logprobs += following_logprobs(self._runner, hidden, followers, num_best)

    def _take(self, sequences: list[Sequence], draws: list[Draw]) -> None:
        now = time.monotonic()
        done = self._done
        for sequence, draw in zip(sequences, draws, strict=True):
            if sequence.job.handle not in self.jobs:
                # Another sequence of the job has just failed.
                continue
            try:
                is_over = _advance(sequence, draw.token_id)
            except GrammarError as error:
                if _is_complete(sequence):
                    self._finish(sequence, FinishReason.STOP, None, now)
                else:
                    self._fail({sequence.job}, error)
                continue
            sequence.token_ids.append(draw.token_id)
            if sequence.first_token_at is None:
                sequence.first_token_at = now
            done.handles.append(sequence.job.handle)
            done.indices.append(sequence.index)
            done.token_ids.append(draw.token_id)
            done.logprobs.append(draw.logprobs)
            request = sequence.job.request
            if draw.token_id in request.stop_token_ids:
                self._finish(sequence, FinishReason.STOP, draw.token_id, now)
            elif is_over:
                self._finish(sequence, FinishReason.STOP, None, now)
            elif sequence.num_output_tokens >= request.max_tokens:
                self._finish(sequence, FinishReason.LENGTH, None, now)

    def _finish(self, sequence: Sequence, reason: FinishReason, stop_token_id: int | None, now: float) -> None:
        job = sequence.job
        scheduled_at = now if sequence.scheduled_at is None else sequence.scheduled_at
        first_token_at = now if sequence.first_token_at is None else sequence.first_token_at
        timings = Timings(scheduled_at - job.arrived_at, first_token_at - scheduled_at, now - first_token_at)
        self._done.finished.append(
            (job.handle, SequenceFinished(sequence.index, reason, stop_token_id, sequence.seed, timings))
        )
        self._scheduler.finish(sequence)
        self._drop_if_ended(job)

    def _fail(self, jobs: Iterable[Job], error: Exception) -> None:
        """Ends jobs with an error, of which the client is told no more than concerns it."""
        for job in jobs:
            if job.handle not in self.jobs:
                # Another of its sequences has failed already.
                continue
            self._scheduler.abort(job, None)
            self._drop_if_ended(job)
            self._done.failed.append(_failure(job, error))

    def _drop_if_ended(self, job: Job) -> None:
        if not job.sequences:
            self.jobs.pop(job.handle, None)


def _advance(sequence: Sequence, token_id: int) -> bool:
    """Follows a drawn token in the sequence's grammar, if it has one; whether the grammar ends with it.

    Raises:
        GrammarError: the grammar cannot be followed further.
    """
    constraint = None if sequence.sampler_state is None else sequence.sampler_state.constraint
    if constraint is None:
        return False
    constraint.advance(token_id)
    return constraint.is_over


def _is_complete(sequence: Sequence) -> bool:
    """Whether the output without the token that was drawn last is all that its grammar asks for."""
    constraint = None if sequence.sampler_state is None else sequence.sampler_state.constraint
    return constraint is not None and constraint.is_complete


def _prefilled(sequence: Sequence, now: float) -> PromptPrefilled:
    job = sequence.job
    scheduled_at = now if sequence.scheduled_at is None else sequence.scheduled_at
    return PromptPrefilled(
        job.num_cached_tokens or 0, tuple(job.prompt_logprobs), scheduled_at - job.arrived_at, now - scheduled_at
    )


def _failure(job: Job, error: BaseException) -> Failure:
    """What the client is told; other errors than those of its grammar are for the log alone."""
    grammar = job.request.sampling.grammar
    if isinstance(error, GrammarError) and grammar is not None:
        return Failure(job.handle, str(error), grammar.name)
    return Failure(job.handle, "The engine failed on this request.")


def _is_right(sequence: Sequence, draft: tuple[int, ...]) -> bool:
    """Whether a sequence goes on, with the token that was guessed."""
    return bool(draft) and sequence in sequence.job.sequences and sequence.token_ids[-1] == draft[0]
