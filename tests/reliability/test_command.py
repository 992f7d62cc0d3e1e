"""`python -m reliability`, without running a check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from reliability.registry import all_checks

_COMMAND = [sys.executable, "-m", "reliability", "--list"]
_ROOT = Path(__file__).parents[2]


def test_the_list_has_every_check() -> None:
    listed = subprocess.run(_COMMAND, cwd=_ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [each.id for each in all_checks()]


def test_the_list_ends_quietly_where_nobody_reads_on() -> None:
    with subprocess.Popen(_COMMAND, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        # As `head` does, only that it is gone before the first line.
        listing.stdout.close()
        assert listing.stderr.read() == b""
        assert listing.wait(60) == 0
