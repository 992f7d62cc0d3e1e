"""What a row of the scoreboard is: a check, and the result of running it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Self

GROUPS = ("Load", "Faults", "Bad input", "Tenant")


class Status(Enum):
    """How a check ended."""

    PASSED = "pass"
    FAILED = "FAIL"
    NOT_APPLICABLE = "not applicable"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Settings:
    """How the checks are run.

    Attributes:
        is_short: smaller numbers and times, for continuous integration; what is asserted is the same.
        minutes: how long the soak lasts.
        directory: for logs and files of the servers.
        slack: factor on all limits of time; more than 1 where others use the machine too.
    """

    is_short: bool
    minutes: float
    directory: Path
    slack: float = 1.0

    def pick(self, full: int, short: int) -> int:
        """A number by the length of the run."""
        return short if self.is_short else full


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found.

    Attributes:
        figure: the numbers that were measured, in a few words for the table.
        problems: what the criterion does not allow, one sentence each; none means that it is met.
    """

    status: Status
    figure: str
    problems: tuple[str, ...] = ()

    @classmethod
    def judge(cls, figure: str, problems: list[str] | tuple[str, ...]) -> Self:
        """Passed when there is no problem."""
        return cls(Status.FAILED if problems else Status.PASSED, figure, tuple(problems))

    @classmethod
    def not_applicable(cls, reason: str) -> Self:
        """The server has nothing that the check could be about."""
        return cls(Status.NOT_APPLICABLE, reason)

    def joined(self, others: Sequence[Result]) -> Result:
        """Several parts of one check as one result; a problem of any part is one of the whole."""
        parts = [self, *others]
        problems = tuple(each for part in parts for each in part.problems)
        figure = "; ".join(part.figure for part in parts if part.figure)
        return replace(self, status=Status.FAILED if problems else Status.PASSED, figure=figure, problems=problems)


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the scoreboard.

    Attributes:
        id: the name in tables and on the command line, such as `L1`.
        criterion: what passes, in a few words for the table.
        run: does it. Whatever it starts it stops.
        is_quick: its short form takes seconds, and `make test` runs it.
        uses_model: it needs the native engine with a real model.
        limit: seconds after which the short form counts as hung; the full form may take ten times as long.
    """

    id: str
    group: str
    title: str
    criterion: str
    run: Callable[[Settings], Awaitable[Result]]
    is_quick: bool = False
    uses_model: bool = False
    limit: float = 120.0

    def __post_init__(self) -> None:
        assert self.group in GROUPS, f"{self.id} is in no group of the scoreboard"
