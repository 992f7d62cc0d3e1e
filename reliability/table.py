"""The page with the scoreboard: written from results, and read again so that rows that were not run keep theirs."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from reliability.check import GROUPS, Check, Status
from reliability.runner import Row

_HEAD = "| check | passes if | figure | result | date | form |\n|---|---|---|---|---|---|"
_ROW = re.compile(r"^\| ([A-Z]\d+)[†★ ]* [^|]*(?:\|[^|]*){5}\|$", re.MULTILINE)
_BEGIN, _END = "<!-- scoreboard -->", "<!-- end of scoreboard -->"


def describe_machine() -> str:
    """The machine in words."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {_processor()}, {memory:.0f} GiB, Python {platform.python_version()}, {platform.system()}"


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def render_row(row: Row, form: str) -> str:
    """One line of the table."""
    result = row.result
    figure = result.figure
    if result.problems:
        figure += f". {len(result.problems)} problems, first: {result.problems[0]}"
    cells = (_name(row.check), row.check.criterion, figure, result.status.value, _today(), form)
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _render_missing(check: Check) -> str:
    cells = (_name(check), check.criterion, "", Status.NOT_RUN.value, "", "")
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _name(check: Check) -> str:
    marks = "†" * check.is_quick + "★" * check.uses_model
    return f"{check.id}{marks} {check.title}"


def _escape(text: str) -> str:
    """In one line, and with nothing that would end the cell or be read as markup."""
    plain = " ".join(text.split())[:400]
    return plain.replace("|", "¦").replace("<", "&lt;").replace("`", "'").replace("[", "\\[")


def _today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


def update_page(path: Path, checks: Sequence[Check], rows: Sequence[Row], form: str) -> None:
    """Puts these results into the page, between its two marks.

    Raises:
        ValueError: the page has no such marks.
    """
    page = path.read_text(encoding="utf-8")
    before, begin, rest = page.partition(_BEGIN)
    old, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{path} has no place for the scoreboard, from {_BEGIN} to {_END}.")
    lines = {found[1]: found[0] for found in _ROW.finditer(old)}
    lines |= {row.check.id: render_row(row, form) for row in rows}
    path.write_text(before + begin + _render_board(checks, lines) + end + after, encoding="utf-8")


def _render_board(checks: Sequence[Check], lines: Mapping[str, str]) -> str:
    parts = [f"\n\n{_count(checks, lines)}\n\nMachine of the last run: {describe_machine()}.\n"]
    for group in GROUPS:
        members = [check for check in checks if check.group == group]
        if members:
            table = "\n".join(lines.get(check.id) or _render_missing(check) for check in members)
            parts.append(f"\n### {group}\n\n{_HEAD}\n{table}\n")
    return "".join(parts) + "\n"


def _count(checks: Sequence[Check], lines: Mapping[str, str]) -> str:
    numbers = dict.fromkeys(Status, 0)
    for check in checks:
        line = lines.get(check.id, "")
        numbers[next((status for status in Status if f"| {status.value} |" in line), Status.NOT_RUN)] += 1
    counted = ", ".join(f"{number} {status.value}" for status, number in numbers.items())
    return f"{len(checks)} checks: {counted}."
