"""What the engine and its worker process say to each other.

A job is known by its `handle`, a number that is never used twice. The worker sends one `StepDone` per step with
what happened to all jobs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from portico.core.engine import PromptPrefilled, SequenceFinished, TokenJob, TokenLogprobs
from portico.core.grammar import Vocabulary
from portico.core.model import EngineStats, ModelInfo


@dataclass(frozen=True, slots=True)
class UseVocabulary:
    """To the worker, before the first job with a grammar: what the tokens stand for."""

    vocabulary: Vocabulary


@dataclass(frozen=True, slots=True)
class AddJob:
    """To the worker: queue this job."""

    handle: int
    job: TokenJob


@dataclass(frozen=True, slots=True)
class Abort:
    """To the worker: end one sequence, or with index None the whole job, without further events."""

    handle: int
    index: int | None


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """From the worker: the fraction of the weights that is loaded."""

    fraction: float


@dataclass(frozen=True, slots=True)
class Ready:
    """From the worker: the model is loaded and jobs are taken.

    `kv_cache_bytes`, `num_threads` and `kernels` are what was decided, for the log. `weight_bytes` is what the weights
    take as they are held, `base_bytes` what the process took before it read them.
    """

    info: ModelInfo
    stats: EngineStats
    kv_cache_bytes: int
    num_threads: int
    kernels: str
    weight_bytes: int
    base_bytes: int


@dataclass(frozen=True, slots=True)
class Beat:
    """From the worker, again and again from `Ready` on: it is there."""


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """From the worker, as its last word: why the model cannot be served, in one sentence."""

    message: str


@dataclass(frozen=True, slots=True)
class Scheduled:
    """From the worker: a step begins, and with it the work on these jobs."""

    handles: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that cannot go on.

    Attributes:
        reason: a sentence, or what follows the name of the grammar in one.
        grammar: the client's name of the grammar that could not be followed; None is a failure of the engine.
    """

    handle: int
    reason: str
    grammar: str | None = None


@dataclass(slots=True)
class StepDone:
    """From the worker: what one step gave.

    `handles`, `indices`, `token_ids` and `logprobs` are columns of one table with a row per new token: this message is
    sent for every step, and columns of numbers are far cheaper to pickle than a small object per token. Within a
    job the order is prefilled, tokens, finished.
    """

    prefilled: list[tuple[int, PromptPrefilled]] = field(default_factory=list)
    handles: list[int] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs | None] = field(default_factory=list)
    finished: list[tuple[int, SequenceFinished]] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    stats: EngineStats | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened to any job."""
        return not (self.prefilled or self.handles or self.finished or self.failed)


ToWorker = UseVocabulary | AddJob | Abort
FromWorker = Beat | LoadProgress | Ready | LoadFailed | Scheduled | StepDone
