"""The engine's process with a fault built in: each function here is the whole life of one, instead of the product's.

A fault wakes when the forward pass meets a prompt with its word in it, so that the harness says when and for whom.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from portico.engines.native import process, worker
from portico.engines.native.config import NativeConfig
from portico.text.tokenizer import Tokenizer

# In the prompt of a request that shall fail when its prompt is evaluated, and when its tokens are.
PREFILL_WORD, DECODE_WORD = "Sesame", "Abracadabra"
_SPARE_MEMORY = 24 << 20

_run = process._main
# What it imports is looked up in it when it is called, and is none of what it offers.
_worker: Any = worker


class _Runner:
    """A model runner that calls `fail` instead of evaluating a sequence with one of the words."""

    def __init__(self, runner: Any, tokenizer: Tokenizer, fail: Callable[[], None]) -> None:
        self._runner = runner
        self._tokenizer = tokenizer
        self._fail = fail

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def evaluate(self, step: Any) -> Any:
        self._look(PREFILL_WORD, [chunk.sequence for chunk in step.chunks])
        self._look(DECODE_WORD, step.sequences)
        return self._runner.evaluate(step)

    def _look(self, word: str, sequences: Any) -> None:
        for sequence in sequences:
            if word in self._tokenizer.decode(sequence.job.request.token_ids, skip_special_tokens=True):
                self._fail()


def die(connection: socket.socket, path: Path, config: NativeConfig) -> None:
    """The process ends as native code does that reads where it must not."""
    _wrap(path, lambda: os.kill(os.getpid(), signal.SIGSEGV))
    _run(connection, path, config)


def raise_error(connection: socket.socket, path: Path, config: NativeConfig) -> None:
    """The forward pass raises."""

    def fail() -> None:
        raise RuntimeError("This forward pass was made to fail.")

    _wrap(path, fail)
    _run(connection, path, config)


def have_little_memory(connection: socket.socket, path: Path, config: NativeConfig) -> None:
    """Once the model is loaded the address space may grow by little."""
    build = _worker.build

    def limited(*arguments: Any) -> Any:
        built = build(*arguments)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + _SPARE_MEMORY, resource.RLIM_INFINITY))
        return built

    _worker.build = limited
    _run(connection, path, config)


def _wrap(path: Path, fail: Callable[[], None]) -> None:
    # Only this process imports torch.
    from portico.engines.native.engine_core import EngineCore

    begin, tokenizer = EngineCore.__init__, Tokenizer.load(path)

    def begin_with_fault(self: EngineCore, info: Any, scheduler: Any, runner: Any, sampler: Any) -> None:
        begin(self, info, scheduler, cast(Any, _Runner(runner, tokenizer, fail)), sampler)

    EngineCore.__init__ = begin_with_fault  # type: ignore[method-assign]
