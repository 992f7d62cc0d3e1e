from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.server import RunningServer, run_server


@pytest.fixture(scope="session")
def demo_server() -> Iterator[RunningServer]:
    """The demo model, served as `make serve` does."""
    with run_server() as server:
        yield server
