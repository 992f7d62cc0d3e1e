"""`portico serve` with a fault built in: `python -m reliability.faulty_server --fault NAME serve ...`.

Faults are put into the running program from here, so that the product has no switches for them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from portico.cli import main as portico
from portico.core.engine import TokenJob
from portico.core.model import ModelInfo
from portico.core.request import GenerationRequest
from portico.service.preparation import Preparation


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


FAULTS: dict[str, Callable[[], None]] = {"count-preparations": count_preparations}

if __name__ == "__main__":
    sys.exit(main())
