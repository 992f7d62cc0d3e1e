"""Memory that was freed but is still the process's own, and giving it back to the system."""

from __future__ import annotations

import ctypes


def give_back_freed_memory() -> None:
    """Returns to the system what was freed between things that are still used.

    While weights are packed the C library keeps half a gigabyte of a model of half a billion weights; of a few request
    bodies of megabytes and of the threads that tokenise them it keeps a hundred megabytes.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    # Other C libraries than glibc have none.
    if trim is not None:
        trim(0)
