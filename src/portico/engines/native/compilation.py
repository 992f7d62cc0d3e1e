"""Jobs whose grammars are being compiled, in a thread beside the engine's steps: a large one takes a while."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from portico.engines.native.grammar import Constraint, GrammarCompiler
from portico.engines.native.sequence import Job

# Seconds that an engine without other work waits for a grammar before it looks for messages again.
_WAIT = 0.01


@dataclass(slots=True, eq=False)
class _Entry:
    job: Job
    future: Future[Constraint]
    aborted: set[int] = field(default_factory=set)


class Compilation:
    """Knows a job from `add` until `take_ready` gives it back or it is aborted."""

    def __init__(self, compiler: GrammarCompiler) -> None:
        self._compiler = compiler
        self._entries: dict[int, _Entry] = {}
        self._executor: ThreadPoolExecutor | None = None

    def __bool__(self) -> bool:
        return bool(self._entries)

    def has(self, handle: int) -> bool:
        """Whether a job waits."""
        return handle in self._entries

    def add(self, job: Job) -> bool:
        """Begins with the grammar of a job; False if there is nothing to wait for, as it is known already."""
        grammar = job.request.sampling.grammar
        if grammar is None:
            return False
        job.constraint = self._compiler.find(grammar)
        if job.constraint is not None:
            return False
        self._executor = self._executor or ThreadPoolExecutor(1, "grammar")
        self._entries[job.handle] = _Entry(job, self._executor.submit(self._compiler.compile, grammar))
        return True

    def abort(self, handle: int, index: int | None) -> None:
        """Ends one sequence of a job that waits, or all; with the last one the job waits no more."""
        entry = self._entries[handle]
        entry.aborted |= set(range(entry.job.request.num_sequences)) if index is None else {index}
        if len(entry.aborted) == entry.job.request.num_sequences:
            entry.future.cancel()
            del self._entries[handle]

    def take_ready(self, *, waits: bool) -> Iterator[tuple[Job, frozenset[int], BaseException | None]]:
        """The jobs that can run or have failed, with the sequences that were aborted; it waits a moment if told to."""
        if waits:
            futures = [entry.future for entry in self._entries.values()]
            concurrent.futures.wait(futures, _WAIT, concurrent.futures.FIRST_COMPLETED)
        for handle, entry in [each for each in self._entries.items() if each[1].future.done()]:
            del self._entries[handle]
            error = entry.future.exception()
            if error is None:
                entry.job.constraint = entry.future.result()
            yield entry.job, frozenset(entry.aborted), error
