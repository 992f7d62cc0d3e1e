from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portico.bench.random_checkpoint import find_or_make_checkpoint
from portico.bench.shapes import SHAPES
from portico.bench.workload import Lengths, Workload
from tests.end_to_end.server import RunningServer, run_server

SHAPE = SHAPES["tiny"]
# Its prompts fail in the scripted server.
POISON = 1000


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return find_or_make_checkpoint(SHAPE, "bfloat16", 0, tmp_path_factory.mktemp("bench"), None)


@pytest.fixture(scope="session")
def server(checkpoint: Path) -> Iterator[RunningServer]:
    flags = ("--engine", "scripted", "--vocab-size", "1024", "--script", "400", "401", "402", "--tokens-per-step", "3")
    with run_server(str(checkpoint), *flags, "--fail-token-id", str(POISON)) as running:
        yield running


@pytest.fixture
def workload() -> Callable[..., Workload]:
    def make(**changes: object) -> Workload:
        settings: dict[str, object] = {
            "input_len": Lengths(4, 9),
            "output_len": Lengths(2, 7),
            "shared_prefix_len": 0,
            "num_choices": 1,
            "seed": 1,
            "token_ids": range(400, 1000),
        }
        return Workload(**{**settings, **changes})  # type: ignore[arg-type]

    return make
