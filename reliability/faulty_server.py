"""`portico serve` with a fault built in: `python -m reliability.faulty_server --fault NAME serve ...`.

Faults are put into the running program from here, so that the product has no switches for them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from portico.cli import main as portico
from portico.core.engine import TokenJob
from portico.core.model import ModelInfo
from portico.core.request import GenerationRequest
from portico.engines.native import process
from portico.engines.scripted.stream import ScriptedStream
from portico.service.preparation import Preparation
from reliability import faulty_worker

_LEAKED_BYTES = 64 << 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Puts the fault in and runs the command."""
    parser = argparse.ArgumentParser(prog="python -m reliability.faulty_server")
    parser.add_argument("--fault", choices=sorted(FAULTS), required=True)
    given, command = parser.parse_known_args(arguments)
    FAULTS[given.fault]()
    return portico(command)


def count_preparations() -> None:
    """No fault: one line for every request that is rendered and tokenised."""
    prepare = Preparation.prepare

    def counted(self: Preparation, request: GenerationRequest, model: ModelInfo) -> list[TokenJob]:
        print("prepared a request", flush=True)
        return prepare(self, request, model)

    Preparation.prepare = counted  # type: ignore[method-assign]


def log_prompts() -> None:
    """A server that writes what it is asked."""
    prepare = Preparation.prepare

    def shown(self: Preparation, request: GenerationRequest, model: ModelInfo) -> list[TokenJob]:
        print(request.prompts, flush=True)
        return prepare(self, request, model)

    Preparation.prepare = shown  # type: ignore[method-assign]


def leak() -> None:
    """Every request leaves some memory behind, and every tenth a file descriptor."""
    prepare, kept = Preparation.prepare, list[bytes]()

    def leaking(self: Preparation, request: GenerationRequest, model: ModelInfo) -> list[TokenJob]:
        kept.append(os.urandom(_LEAKED_BYTES))
        if len(kept) % 10 == 0:
            os.dup(sys.stderr.fileno())
        return prepare(self, request, model)

    Preparation.prepare = leaking  # type: ignore[method-assign]


def _run_worker(life: Callable[..., None]) -> Callable[[], None]:
    def put_in() -> None:
        process._main = life

    return put_in


def stall() -> None:
    """Every answer of the scripted engine comes to a halt after three steps, without an end."""
    step, num_steps = ScriptedStream.step, WeakKeyDictionary[ScriptedStream, int]()

    def halting(self: ScriptedStream, now: float) -> int:
        num_steps[self] = num_steps.get(self, 0) + 1
        return step(self, now) if num_steps[self] <= 3 else 0

    ScriptedStream.step = halting  # type: ignore[method-assign]


FAULTS: dict[str, Callable[[], None]] = {
    "count-preparations": count_preparations,
    "log-prompts": log_prompts,
    "leak": leak,
    "stall": stall,
    "die": _run_worker(faulty_worker.die),
    "raise": _run_worker(faulty_worker.raise_error),
    "little-memory": _run_worker(faulty_worker.have_little_memory),
}

if __name__ == "__main__":
    sys.exit(main())
