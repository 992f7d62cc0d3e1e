from __future__ import annotations

import os
from pathlib import Path

import pytest

# No client may look for a model elsewhere, or tell anybody.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "LANGSMITH_TRACING": "false"}


@pytest.fixture(scope="session")
def base_url() -> str:
    """Where the demo model's OpenAI routes are."""
    return os.environ["PORTICO_DEMO"]


@pytest.fixture(scope="session")
def caller_url() -> str:
    """Where a model calls the tool `weather` for the city Ulm in every answer."""
    return os.environ["PORTICO_CALLER"]


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """The demo model's files, for clients that bring a tokenizer."""
    return Path(__file__).parents[2] / "src/portico/demo/checkpoint"
