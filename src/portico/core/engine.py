"""The port to engines: token ids in, token ids out.

An engine never sees text. It is started once, takes any number of jobs at the same time, and is closed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from portico.core.events import FinishReason, Timings
from portico.core.model import EngineStats, ModelInfo
from portico.core.request import Sampling


@dataclass(frozen=True, slots=True)
class TokenJob:
    """One prompt and how to continue it.

    Attributes:
        job_id: unique among the running jobs.
        token_ids: the prompt; at least one id, all within the vocabulary.
        num_sequences: continuations drawn from the one prefill; sequence i uses seed + i.
        sampling: how tokens are drawn.
        max_tokens: output tokens per sequence at most; prompt and output fit the context. With 0 the prompt is only
            evaluated: every sequence finishes with the reason length and without a token.
        min_tokens: stop tokens cannot be drawn before so many.
        stop_token_ids: tokens that end a sequence; they are part of its output.
        logprobs: log-probabilities of each output token and of so many best ones; None is none.
        prompt_logprobs: the same for the prompt.
        processed_logprobs: of the distribution drawn from, instead of the model's own.
        cache_salt: jobs share what was evaluated of a common beginning only with the same salt.
        owner: waiting jobs of different owners have equal shares of the engine; see `FairQueue`.
    """

    job_id: str
    token_ids: tuple[int, ...]
    num_sequences: int
    sampling: Sampling
    max_tokens: int
    min_tokens: int
    stop_token_ids: frozenset[int]
    logprobs: int | None
    prompt_logprobs: int | None
    processed_logprobs: bool
    cache_salt: str = ""
    owner: str = ""


# Made for every token, as `TokensGenerated` is: a frozen one takes four times as long to make.
@dataclass(slots=True)
class TokenLogprobs:
    """Natural log-probabilities of one place: of the token that stands there, and of the best ones, best first.

    `rank` counts the tokens that are at least as likely as the one that stands there, itself among them: 1 is the best.
    """

    logprob: float
    rank: int
    best: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class PromptPrefilled:
    """The prompt was evaluated, `num_cached_tokens` of it from cache.

    `logprobs` has one entry per prompt token when asked for (the first is None, nothing stands before it), else is
    empty. Seconds in the queue and of evaluating are 0 where the engine does not tell them.
    """

    num_cached_tokens: int
    logprobs: tuple[TokenLogprobs | None, ...]
    queue_seconds: float = field(default=0.0, compare=False)
    prefill_seconds: float = field(default=0.0, compare=False)


@dataclass(slots=True)
class TokensGenerated:
    """New tokens of sequence `index`; `logprobs` is parallel to `token_ids` or empty. It is never changed."""

    index: int
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...]


@dataclass(frozen=True, slots=True)
class SequenceFinished:
    """Sequence `index` has ended; `stop_token_id` is the id that ended it, if one did."""

    index: int
    reason: FinishReason
    stop_token_id: int | None
    seed: int
    timings: Timings


TokenEvent = PromptPrefilled | TokensGenerated | SequenceFinished


class TokenStream(Protocol):
    """The events of one job.

    Iterating gives everything that has happened since the last step, at least one event at a time: `PromptPrefilled`
    first, then tokens of the sequences in any order, one `SequenceFinished` for each, in the same step as the last
    tokens of its sequence. Iteration ends when all sequences have ended.

    Raises (from iteration):
        GrammarExhausted: an output came to where it could not go on within its grammar.
        EngineFailure: the engine failed on this job or stopped.
    """

    @property
    def scheduled_at(self) -> float | None:
        """When the job left the queue, by `time.perf_counter`; None while it waits."""

    def __aiter__(self) -> TokenStream: ...

    async def __anext__(self) -> Sequence[TokenEvent]: ...

    def finish(self, index: int) -> None:
        """Ends one sequence early; no further event of it is given and its blocks are freed."""

    async def aclose(self) -> None:
        """Aborts what still runs. Safe to call twice and after the end."""


class Engine(Protocol):
    """A running model."""

    @property
    def info(self) -> ModelInfo:
        """The loaded model. Valid after `start`."""

    @property
    def is_ready(self) -> bool:
        """Whether jobs are taken right now."""

    async def start(self, on_progress: Callable[[float], None]) -> None:
        """Loads the model; `on_progress` is called with the loaded fraction in [0, 1].

        Raises:
            EngineStartError: the model cannot be served; the message is one sentence for the operator.
        """

    def generate(self, job: TokenJob) -> TokenStream:
        """Queues a job. Closing the stream aborts it.

        Raises:
            NotReady: the engine is not running at the moment.
        """

    def stats(self) -> EngineStats:
        """The engine's load, as last heard of."""

    async def close(self) -> None:
        """Aborts all jobs and frees everything."""


class EngineStartError(Exception):
    """The engine cannot start; the message is one sentence for the operator."""
