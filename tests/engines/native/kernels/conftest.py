"""The compiled kernels, in every variant that this processor can run."""

from __future__ import annotations

import ctypes

import pytest

from portico.engines.native.kernels.library import VARIANTS
from tests.engines.native.kernels.variants import find_variant


@pytest.fixture(params=VARIANTS)
def library(request: pytest.FixtureRequest) -> ctypes.CDLL:
    found = find_variant(request.param)
    if found is None:
        pytest.skip(f"no {request.param} kernels on this machine")
    return found
