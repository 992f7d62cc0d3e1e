"""The page keeps what was not run, and says honestly what came of what was."""

from __future__ import annotations

from pathlib import Path

import pytest

from reliability.check import Check, Result, Settings, Status
from reliability.registry import all_checks, choose
from reliability.runner import run_check
from reliability.table import update_page

SETTINGS = Settings(is_short=True, minutes=1, directory=Path())


async def _pass(settings: Settings) -> Result:
    return Result.judge("1 of 1", [])


async def _fail(settings: Settings) -> Result:
    return Result.judge("0 of 1", ["it | broke", "again"])


async def _break_off(settings: Settings) -> Result:
    raise OSError("no such thing")


FINE = Check("L1", "Load", "One", "it holds", _pass, is_quick=True)
BAD = Check("F1", "Faults", "Two", "it holds too", _fail, uses_model=True)
BROKEN = Check("F2", "Faults", "Three", "it runs", _break_off)


async def test_a_page_is_filled_row_by_row(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Before.\n<!-- scoreboard -->\n<!-- end of scoreboard -->\nAfter.\n")
    checks = (FINE, BAD, BROKEN)
    update_page(page, checks, [await run_check(FINE, SETTINGS)], "short")
    assert "3 checks: 1 pass, 0 FAIL, 0 not applicable, 2 not run." in page.read_text()
    update_page(page, checks, [await run_check(BAD, SETTINGS)], "full")
    text = page.read_text()
    assert "3 checks: 1 pass, 1 FAIL, 0 not applicable, 1 not run." in text
    assert "| L1† One | it holds | 1 of 1 | pass |" in text
    assert "| F1★ Two | it holds too | 0 of 1. 2 problems, first: it ¦ broke | FAIL |" in text
    assert text.startswith("Before.\n")
    assert text.endswith("\nAfter.\n")
    update_page(page, checks, [], "full")
    assert page.read_text() == text


def test_a_page_without_a_place_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Nothing here.")
    with pytest.raises(ValueError, match="no place"):
        update_page(page, (FINE,), [], "full")


async def test_a_check_that_breaks_off_has_failed() -> None:
    row = await run_check(BROKEN, SETTINGS)
    assert row.result.status is Status.FAILED
    assert "OSError: no such thing" in row.result.problems[0]


def test_checks_are_chosen_by_name_and_group() -> None:
    assert [each.id for each in choose(["L2"], [])] == ["L2"]
    assert {each.group for each in choose([], ["Load"])} == {"Load"}
    assert choose([], []) == list(all_checks())
    with pytest.raises(ValueError, match="no check Z9"):
        choose(["Z9"], [])
