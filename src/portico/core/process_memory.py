"""Memory of a process as the system counts it; 0 where the system does not tell."""

from __future__ import annotations

from pathlib import Path

_PROC = Path("/proc")


def resident_bytes(pid: int | None = None) -> int:
    """Bytes that a process has in memory now, with pages that it shares; without an id this one's."""
    return _read(pid, "VmRSS:")


def peak_resident_bytes(pid: int | None = None) -> int:
    """The most bytes that a process has had in memory; without an id this one's."""
    return _read(pid, "VmHWM:")


def _read(pid: int | None, name: str) -> int:
    try:
        status = (_PROC / ("self" if pid is None else str(pid)) / "status").read_text()
    except OSError:
        return 0
    line = next((each for each in status.splitlines() if each.startswith(name)), None)
    return 0 if line is None else int(line.split()[1]) * 1024
