"""Jobs and their sequences as the worker keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from portico.core.engine import TokenJob, TokenLogprobs

if TYPE_CHECKING:
    from portico.engines.native.drafts import DraftState
    from portico.engines.native.grammar import Constraint
    from portico.engines.native.sampler import SamplerState


@dataclass(slots=True, eq=False)
class Job:
    """A job in work.

    Attributes:
        handle: its number on the channel.
        request: what was asked for.
        seed: of the sequence with index 0.
        arrived_at: monotonic seconds.
        sequences: those that have not ended.
        prompt_logprobs: gathered while the prompt is evaluated.
        is_prefilled: the prompt has been evaluated once.
        num_cached_tokens: so much of the prompt came from the cache then; None before it was scheduled.
        constraint: the beginning of the grammar that its sequences follow.
    """

    handle: int
    request: TokenJob
    seed: int
    arrived_at: float
    sequences: list[Sequence] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprobs | None] = field(default_factory=list)
    is_prefilled: bool = False
    num_cached_tokens: int | None = None
    constraint: Constraint | None = None


@dataclass(slots=True, eq=False)
class Sequence:
    """One continuation of a job's prompt.

    Before the prompt is evaluated a job has a single sequence; `siblings` are the indices of those that will be forked
    from it then.

    Attributes:
        token_ids: prompt and output.
        num_computed_tokens: how many of them have their keys and values in the cache.
        block_table: the blocks that hold these, in order.
        block_keys: what the block manager knows its first full blocks by.
        sampler_state: what the sampler remembers of it.
        draft_state: what is known of its repetitions, once guesses are made at it.
        num_displacements: how often it made way for a sequence of another owner.
    """

    job: Job
    index: int
    siblings: list[int]
    token_ids: list[int]
    num_computed_tokens: int = 0
    block_table: list[int] = field(default_factory=list)
    block_keys: list[bytes] = field(default_factory=list)
    scheduled_at: float | None = None
    first_token_at: float | None = None
    sampler_state: SamplerState | None = None
    draft_state: DraftState | None = None
    num_displacements: int = 0

    @property
    def owner(self) -> str:
        """Whose share it counts against."""
        return self.job.request.owner

    @property
    def num_prompt_tokens(self) -> int:
        """Length of the prompt."""
        return len(self.job.request.token_ids)

    @property
    def num_output_tokens(self) -> int:
        """Count of tokens generated so far."""
        return len(self.token_ids) - len(self.job.request.token_ids)

    @property
    def output_ids(self) -> list[int]:
        """Tokens generated so far."""
        return self.token_ids[len(self.job.request.token_ids) :]

    @property
    def width(self) -> int:
        """Sequences that run once this one does."""
        return 1 + len(self.siblings)

    @property
    def seed(self) -> int:
        """The seed it draws with."""
        return self.job.seed + self.index
