"""Memory that is had from the system directly."""

from __future__ import annotations

import contextlib
import mmap

import numpy as np
import numpy.typing as npt

# Bytes of the pages that most systems have: products that ask for weights in advance count in them.
_PAGE = 4096
_LARGE_PAGE = 2 << 20
_CHUNK = 64 << 20


def zero_pages(num_bytes: int) -> mmap.mmap:
    """Zeros that the system gives memory for as they are written, by small pages.

    Raises:
        MemoryError: the system does not give so many.
    """
    try:
        return mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise MemoryError(f"{num_bytes} bytes of memory cannot be had: {error}") from error


class PanelMemory:
    """Gives out memory for matrices one behind another, in large pages where the system has them.

    A matrix of its own would begin and end with small pages, and weights are read from end to end in every step.
    """

    def __init__(self) -> None:
        self._chunk = np.empty(0, np.uint8)
        self._used = 0

    def take(self, num_bytes: int) -> npt.NDArray[np.uint8]:
        """Zeros [num_bytes] that begin with a page; they live as long as the result or a view of it."""
        size = -(-num_bytes // _PAGE) * _PAGE
        if self._used + size > len(self._chunk):
            self._chunk = _large_pages(max(size, _CHUNK))
            self._used = 0
        found = self._chunk[self._used : self._used + num_bytes]
        self._used += size
        return found


def _large_pages(num_bytes: int) -> npt.NDArray[np.uint8]:
    memory = zero_pages(num_bytes + _LARGE_PAGE)
    # Systems without large pages refuse the advice, and have some without.
    with contextlib.suppress(OSError, AttributeError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    found = np.frombuffer(memory, np.uint8)
    start = -found.ctypes.data % _LARGE_PAGE
    return found[start : start + num_bytes]
