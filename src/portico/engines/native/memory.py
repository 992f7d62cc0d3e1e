"""Memory of the machine: what is left, and giving back what is no longer used."""

from __future__ import annotations

import ctypes
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that can still be used: what the system has free, or what a container's limit leaves."""
    fields = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        available = min(available, limit - int((_CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):
        # No control group here, or one without a limit ("max").
        pass
    return max(available, 0)


def give_back_freed_memory() -> None:
    """Returns to the system what was freed between things that are still used.

    While weights are packed the C library keeps half a gigabyte of a model of half a billion weights.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    # Other C libraries than glibc have none.
    if trim is not None:
        trim(0)
