"""The compiled kernels, in every variant that this processor can run."""

from __future__ import annotations

import ctypes

import pytest

from portico.engines.native.kernels.library import load


@pytest.fixture(params=["amx", "avx512", "avx2"])
def library(request: pytest.FixtureRequest) -> ctypes.CDLL:
    found = load(request.param)
    if found is None:
        pytest.skip(f"no {request.param} kernels on this machine")
    return found
