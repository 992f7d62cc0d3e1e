"""Decides what the next step evaluates. Knows sequences and blocks, no tensors."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

from portico.core.fair_queue import FairQueue
from portico.core.model import EngineStats
from portico.engines.native.block_manager import BlockManager
from portico.engines.native.drafts import DraftTally, draft
from portico.engines.native.sequence import Job, Sequence


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a sequence to prefill: its tokens from `start` up to but not including `end`."""

    sequence: Sequence
    start: int
    end: int

    @property
    def is_last(self) -> bool:
        """Whether a token can be drawn after it."""
        return self.end == len(self.sequence.token_ids)


@dataclass(frozen=True, slots=True)
class Step:
    """Evaluate chunks of prompts, and the last token of running sequences, after copying blocks.

    Attributes:
        copies: blocks, source and destination.
        drafts: for each of the sequences guesses at the tokens behind its last one, to be evaluated too; or nothing.
    """

    chunks: tuple[Chunk, ...] = ()
    sequences: tuple[Sequence, ...] = ()
    copies: tuple[tuple[int, int], ...] = ()
    drafts: tuple[tuple[int, ...], ...] = ()

    @property
    def num_chunk_tokens(self) -> int:
        """Tokens of prompts."""
        return sum(chunk.end - chunk.start for chunk in self.chunks)

    @property
    def num_tokens(self) -> int:
        """All tokens that are evaluated."""
        return self.num_chunk_tokens + len(self.sequences) + sum(map(len, self.drafts))


class Scheduler:
    """Continuous batching, first come first served; owners of jobs have equal shares.

    While there are both, prompts and running sequences share steps if `mixes`, and else take turns, so neither
    starves. A prompt that is longer than the budget is cut; at most one is half done, and goes first. The budget is
    `prefill_budget` while others decode, so that they need not wait long for their next tokens, and `budget_alone`
    else, if these are less. A prompt that begins like one of the same step waits for the next: it finds the beginning
    in the cache then.

    A sequence that is preempted gives its blocks back and is evaluated again later, output included. When blocks run
    out it is the one admitted last, of the owner that has most of them. When an owner has none while others have
    several, one of theirs makes way: the one that has done so least often, then the one admitted last.
    """

    def __init__(
        self,
        block_manager: BlockManager,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        *,
        mixes: bool = False,
        caches_outputs: bool = False,
        max_drafted: int = 0,
    ) -> None:
        self.waiting: FairQueue[Sequence] = FairQueue()
        self.running: list[Sequence] = []
        self.num_preemptions = 0
        # Begun, and their prompts not yet evaluated: between two steps at most one.
        self._prefilling: list[Sequence] = []
        self._block_manager = block_manager
        self._max_num_seqs = max_num_seqs
        self._max_num_batched_tokens = max_num_batched_tokens
        self._mixes = mixes
        self._caches_outputs = caches_outputs
        self._max_drafted = max_drafted
        # A draft ends with its block.
        max_length = min(max_drafted, block_manager.block_size - 1)
        self._draft_tally = DraftTally(max_length) if max_length else None
        self.prefill_budget = self.budget_alone = max_num_batched_tokens
        self._prefilled_last = False

    @property
    def has_work(self) -> bool:
        """Whether `schedule` would give a step."""
        return bool(self.waiting or self._prefilling or self.running)

    @property
    def num_waiting(self) -> int:
        """Sequences whose prompts are not evaluated yet, or not wholly."""
        return len(self.waiting) + len(self._prefilling)

    def stats(self) -> EngineStats:
        """The load right now."""
        return EngineStats(
            num_running=len(self.running),
            num_waiting=self.num_waiting,
            num_blocks=self._block_manager.num_blocks,
            num_free_blocks=self._block_manager.num_free_blocks,
            num_preemptions=self.num_preemptions,
            block_size=self._block_manager.block_size,
            drafts=None if self._draft_tally is None else self._draft_tally.counts(),
        )

    def add(self, job: Job) -> None:
        """Queues a job."""
        first, *siblings = range(job.request.num_sequences)
        sequence = Sequence(job, first, siblings, list(job.request.token_ids))
        job.sequences.append(sequence)
        self.waiting.append(sequence.owner, sequence)

    def schedule(self) -> Step | None:
        """The next step; None when there is nothing to do."""
        chunks: list[Chunk] = []
        if (self.waiting or self._prefilling) and not (self._prefilled_last and self.running):
            chunks = self._schedule_prefill()
        self._prefilled_last = bool(chunks) and not self._mixes
        if self.running and not self._prefilled_last:
            return self._schedule_decode(chunks)
        assert chunks or not self.has_work, "a waiting sequence fits an empty cache"
        return Step(tuple(chunks)) if chunks else None

    def prefilled(self, chunk: Chunk) -> list[Sequence]:
        """Takes note of an evaluated chunk.

        Returns:
            The sequences whose next token can be drawn from the chunk's last logits: none while the prompt is
            incomplete, else the sequence and its newly forked siblings.
        """
        sequence = chunk.sequence
        sequence.num_computed_tokens = chunk.end
        self._block_manager.remember(sequence, chunk.start)
        if not chunk.is_last:
            return []
        self._prefilling.remove(sequence)
        forked = [self._fork(sequence, index) for index in sequence.siblings]
        sequence.siblings = []
        ready = [sequence, *forked]
        num_free_places = self._max_num_seqs - len(self.running)
        self.running.extend(ready[:num_free_places])
        for surplus in reversed(ready[num_free_places:]):
            self._requeue(surplus)
        return ready

    def decoded(self, sequence: Sequence) -> None:
        """Takes note of one evaluated token."""
        sequence.num_computed_tokens += 1
        self.waiting.charge(sequence.owner, num_output_tokens=1)
        if self._caches_outputs and sequence.num_computed_tokens % self._block_manager.block_size == 0:
            self._block_manager.remember(sequence, sequence.num_computed_tokens - 1)

    def followed(self, sequence: Sequence, num_drafted: int, num_right: int) -> None:
        """Takes note of how many guesses at a sequence's next tokens were right."""
        assert self._draft_tally is not None, "a draft comes from here"
        assert sequence.draft_state is not None, "a draft comes from what a sequence said"
        sequence.draft_state.note(num_drafted, num_right, len(sequence.token_ids))
        self._draft_tally.note(num_drafted, num_right)

    def finish(self, sequence: Sequence) -> None:
        """Ends a sequence, wherever it is, and frees its blocks."""
        for held in (self.running, self._prefilling):
            if sequence in held:
                held.remove(sequence)
                break
        else:
            self.waiting.remove(sequence.owner, sequence)
        self._block_manager.free(sequence)
        sequence.job.sequences.remove(sequence)

    def abort(self, job: Job, index: int | None) -> None:
        """Ends one sequence of a job, or all."""
        for sequence in list(job.sequences):
            if index is None or (sequence.index == index and not sequence.siblings):
                self.finish(sequence)
            elif sequence.index == index:
                sequence.index = sequence.siblings.pop(0)
            elif index in sequence.siblings:
                sequence.siblings.remove(index)

    def _schedule_prefill(self) -> list[Chunk]:
        chunks: list[Chunk] = []
        budget = min(self._max_num_batched_tokens, self.prefill_budget if self.running else self.budget_alone)
        left = budget
        num_places = self._max_num_seqs
        for sequence in self._candidates():
            cached = [] if sequence.block_table else self._block_manager.cached_blocks(sequence)
            start = sequence.num_computed_tokens or len(cached) * self._block_manager.block_size
            num_tokens = min(len(sequence.token_ids) - start, budget)
            width = min(sequence.width, self._max_num_seqs)
            if num_tokens > left or self._is_computed_by(chunks, sequence, len(cached)):
                break
            if not sequence.block_table:
                if not self._has_room(sequence, cached, num_places, is_alone=not chunks):
                    break
                self._begin(sequence, cached)
            chunks.append(Chunk(sequence, start, start + num_tokens))
            left -= num_tokens
            num_places -= width
        return chunks

    def _candidates(self) -> Iterator[Sequence]:
        """What may be evaluated next; each must be begun before the one after it is asked for."""
        yield from tuple(self._prefilling)
        while self.waiting:
            yield self.waiting.first()

    def _begin(self, sequence: Sequence, cached: list[int]) -> None:
        self._block_manager.allocate(sequence, cached)
        self.waiting.remove(sequence.owner, sequence)
        self._prefilling.append(sequence)
        job = sequence.job
        if job.num_cached_tokens is None:
            job.num_cached_tokens = sequence.num_computed_tokens
            # What is evaluated again is not charged again.
            num_new_tokens = len(sequence.token_ids) - sequence.num_computed_tokens
            self.waiting.charge(sequence.owner, num_prompt_tokens=num_new_tokens)

    def _has_room(self, sequence: Sequence, cached: list[int], num_places: int, *, is_alone: bool) -> bool:
        """Whether a sequence can be begun, after others have made way for it if they should.

        `num_places` are those that are not taken by what is begun in this step; running sequences have some of them.
        """
        width = min(sequence.width, self._max_num_seqs)
        num_lacking = width + len(self.running) - num_places
        if num_lacking > 0 and not self._make_way(sequence.owner, num_lacking):
            return False
        while True:
            # Room to grow by a block each: without it the newcomer would be preempted in its first decode step.
            num_spare_blocks = len(self.running) + len(self._prefilling) + width
            if is_alone and not self.running:
                num_spare_blocks = 0
            if self._block_manager.can_allocate(sequence, cached, num_spare_blocks):
                return True
            if not self._make_way(sequence.owner, 1):
                return False

    def _make_way(self, owner: str, num_places: int) -> bool:
        """Preempts so many sequences of owners that should give a place to this one; none if there are fewer."""
        num_held = Counter(each.owner for each in self.running)
        for each in self._prefilling:
            num_held[each.owner] += each.width
        victims: list[Sequence] = []
        for _ in range(num_places):
            donor = self.waiting.donor(owner, num_held)
            own = [each for each in self.running if each.owner == donor and each not in victims]
            if not own:
                return False
            num_held[own[0].owner] -= 1
            victims.append(min(reversed(own), key=lambda each: each.num_displacements))
        for victim in victims:
            victim.num_displacements += 1
            self.num_preemptions += 1
            self.running.remove(victim)
            self._requeue(victim)
        return True

    def _is_computed_by(self, chunks: list[Chunk], sequence: Sequence, num_cached_blocks: int) -> bool:
        """Whether the first block that a sequence lacks will be in the cache once these chunks are evaluated."""
        manager = self._block_manager
        if not manager.caches_prefixes or sequence.job.request.prompt_logprobs is not None:
            return False
        if num_cached_blocks >= (len(sequence.token_ids) - 1) // manager.block_size:
            return False
        key = manager.key(sequence, num_cached_blocks)
        return any(
            (num_cached_blocks + 1) * manager.block_size <= chunk.end
            and manager.key(chunk.sequence, num_cached_blocks) == key
            for chunk in chunks
        )

    def _schedule_decode(self, chunks: list[Chunk]) -> Step:
        scheduled: list[Sequence] = []
        copies: list[tuple[int, int]] = []
        candidates = deque(self.running)
        while candidates:
            sequence = candidates.popleft()
            while not self._block_manager.can_append(sequence):
                victim = self._preempt([sequence, *candidates])
                if victim is sequence:
                    break
                if victim is not None:
                    candidates.remove(victim)
            else:
                copy = self._block_manager.append(sequence)
                if copy is not None:
                    copies.append(copy)
                scheduled.append(sequence)
        # A half prefilled sequence may have been preempted.
        kept = tuple(chunk for chunk in chunks if chunk.sequence in self._prefilling)
        return Step(kept, tuple(scheduled), tuple(copies), () if kept else self._drafts(scheduled))

    def _drafts(self, sequences: list[Sequence]) -> tuple[tuple[int, ...], ...]:
        if not sequences or len(sequences) > self._max_drafted:
            return ()
        share, block_size = self._max_drafted // len(sequences), self._block_manager.block_size
        found = tuple(
            draft(each, min(share, block_size - 1 - each.num_computed_tokens % block_size)) for each in sequences
        )
        return found if any(found) else ()

    def _preempt(self, candidates: list[Sequence]) -> Sequence | None:
        """Frees some blocks: of a half prefilled sequence, or of one of these running ones, which is returned then.

        The oldest sequence of all is not taken unless it is alone, so something always gets on.
        """
        self.num_preemptions += 1
        if self._prefilling:
            self._requeue(self._prefilling.pop())
            return None
        num_held = Counter(each.owner for each in self.running)
        victim = max(reversed(candidates), key=lambda each: num_held[each.owner])
        self.running.remove(victim)
        self._requeue(victim)
        return victim

    def _requeue(self, sequence: Sequence) -> None:
        self._block_manager.free(sequence)
        self.waiting.put_back(sequence.owner, sequence)

    def _fork(self, parent: Sequence, index: int) -> Sequence:
        child = Sequence(parent.job, index, [], list(parent.token_ids), parent.num_computed_tokens)
        child.scheduled_at = parent.scheduled_at
        self._block_manager.fork(parent, child)
        parent.job.sequences.append(child)
        return child
