"""Memory for the kernels' matrices."""

from __future__ import annotations

import pytest

from portico.engines.native.kernels.memory import PanelMemory, zero_pages


def test_matrices_lie_behind_one_another_and_begin_with_pages() -> None:
    memory = PanelMemory()
    found = [memory.take(size) for size in (1, 5000, 64, 4096)]
    assert [len(each) for each in found] == [1, 5000, 64, 4096]
    starts = [each.ctypes.data - found[0].ctypes.data for each in found]
    assert starts == [0, 4096, 3 * 4096, 4 * 4096]
    assert found[0].ctypes.data % (2 << 20) == 0
    for number, each in enumerate(found):
        assert not each.any()
        each[:] = number + 1
    assert [set(each.tolist()) for each in found] == [{1}, {2}, {3}, {4}]


def test_a_matrix_that_does_not_fit_has_memory_of_its_own() -> None:
    memory = PanelMemory()
    first = memory.take(4096)
    large = memory.take(100 << 20)
    assert len(large) == 100 << 20
    large[-1] = 7
    first[:] = 1
    assert int(large[0]) == 0
    assert memory.take(4096).ctypes.data % 4096 == 0


def test_memory_that_there_is_not() -> None:
    with pytest.raises(MemoryError, match="cannot be had"):
        zero_pages(1 << 60)
    with pytest.raises(MemoryError, match="cannot be had"):
        zero_pages(1 << 70)
