"""Which kernels are found."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from portico.engines.native.kernels import library


def test_a_processor_without_what_is_needed_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nflags : fpu sse4_2 avx\n")
    monkeypatch.setattr(library, "_CPUINFO", info)
    assert library.load.__wrapped__() is None


def test_other_systems_have_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(library, "_CPUINFO", tmp_path / "missing")
    assert library.load.__wrapped__() is None


def test_kernels_that_were_not_built_are_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "VARIANTS", {"avx9000": ()})
    assert library.load.__wrapped__() is None


def test_kernels_from_other_sources_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if library.load() is None:
        pytest.skip("no kernels on this machine")
    monkeypatch.setattr(library, "_INTERFACE", -1)
    assert library.load.__wrapped__() is None
    assert "compiled from other sources" in caplog.text


def test_kernels_that_the_system_refuses_give_way_to_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Tile registers are the system's to give, and a sandbox may not."""
    best = library.load()
    if best is None:
        pytest.skip("no kernels on this machine")
    found = []

    class Refused(ctypes.CDLL):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            found.append(name)
            if len(found) == 1:
                self.portico_is_usable = lambda: 0

    monkeypatch.setattr(ctypes, "CDLL", Refused)
    other = library.load.__wrapped__()
    assert "does not let this process use" in caplog.text
    assert found[0] == best._name
    assert other is None or other._name == found[-1] != best._name
