"""The short forms of the scoreboard's quick rows; `conftest` prints their figures in the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reliability.check import Check, Settings, Status
from reliability.registry import all_checks
from reliability.runner import run_check

# Tests run beside each other, so times are not what they are on a machine of one's own.
_SLACK = 5.0


@pytest.mark.parametrize("check", [each for each in all_checks() if each.is_quick], ids=lambda check: check.id)
async def test_row(check: Check, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    row = await run_check(check, Settings(is_short=True, minutes=0.2, directory=tmp_path, slack=_SLACK))
    record_property("scoreboard", f"{check.id:4} {row.result.status.value:5} {row.seconds:5.1f} s  {row.result.figure}")
    assert row.result.status is not Status.FAILED, "\n".join(row.result.problems)
