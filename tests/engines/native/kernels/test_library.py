"""Which kernels are found."""

from __future__ import annotations

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
    monkeypatch.setattr(library, "_VARIANTS", (("avx9000", ()),))
    assert library.load.__wrapped__() is None


def test_kernels_from_other_sources_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if library.load() is None:
        pytest.skip("no kernels on this machine")
    monkeypatch.setattr(library, "_INTERFACE", -1)
    assert library.load.__wrapped__() is None
    assert "compiled from other sources" in caplog.text
