"""`python -m reliability`: runs the checks and says what came of them."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from reliability.check import Check, Settings, Status
from reliability.registry import all_checks, choose
from reliability.runner import Row, run_all
from reliability.table import describe_machine, update_page

_MAX_SHOWN_PROBLEMS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit code is the number of checks that failed, at most 100."""
    parser = argparse.ArgumentParser(prog="python -m reliability", description="The scoreboard of reliability.")
    parser.add_argument("--rows", nargs="+", default=[], metavar="ID", help="only these checks, such as L1 F3")
    parser.add_argument("--group", nargs="+", default=[], metavar="NAME", help="only the checks of these groups")
    parser.add_argument("--short", action="store_true", help="smaller numbers and times; all checks take minutes")
    parser.add_argument("--minutes", type=float, help="how long the soak lasts (30, in the short form 1)")
    parser.add_argument("--slack", type=float, default=1.0, help="factor on limits of time, for a machine in use")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the results into the table of this page")
    parser.add_argument("--list", action="store_true", help="list the checks and run none")
    given = parser.parse_args(arguments)
    try:
        checks = choose(given.rows, given.group)
    except ValueError as error:
        parser.error(str(error))
    if given.list:
        _list(checks)
        return 0
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="reliability-") as directory:
        minutes = given.minutes or (1.0 if given.short else 30.0)
        rows = asyncio.run(run_all(checks, Settings(given.short, minutes, Path(directory), given.slack), _report))
    form = "short" if given.short else "full"
    if given.json:
        given.json.write_text(json.dumps(_as_data(rows, form), indent=2, ensure_ascii=False), encoding="utf-8")
    if given.write:
        update_page(given.write, all_checks(), rows, form)
    failed = [row.check.id for row in rows if row.result.status is Status.FAILED]
    print(
        f"\n{len(rows) - len(failed)} of {len(rows)} without a failure" + f"; failed: {' '.join(failed)}" * bool(failed)
    )
    return min(len(failed), 100)


def _list(checks: Sequence[Check]) -> None:
    try:
        for check in checks:
            print(f"{check.id:4} {check.group:10} {check.title}: {check.criterion}")
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has seen enough; what is left is flushed to nowhere when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(row: Row) -> None:
    result = row.result
    print(f"{row.check.id:4} {result.status.value:5} {row.seconds:6.1f} s  {row.check.title}: {result.figure}")
    for problem in result.problems[:_MAX_SHOWN_PROBLEMS]:
        print(f"            {problem[:300]}")
    if (more := len(result.problems) - _MAX_SHOWN_PROBLEMS) > 0:
        print(f"            and {more} more")
    sys.stdout.flush()


def _as_data(rows: Sequence[Row], form: str) -> dict[str, object]:
    return {
        "machine": describe_machine(),
        "form": form,
        "checks": [
            {
                "id": row.check.id,
                "title": row.check.title,
                "criterion": row.check.criterion,
                "status": row.result.status.value,
                "figure": row.result.figure,
                "problems": row.result.problems,
                "seconds": round(row.seconds, 1),
            }
            for row in rows
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
