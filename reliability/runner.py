"""Runs checks one after the other, and keeps going whatever one of them does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reliability.check import Check, Result, Settings, Status

_logger = logging.getLogger(__name__)
_FULL_LIMIT_FACTOR = 10


@dataclass(frozen=True, slots=True)
class Row:
    """A check with its result."""

    check: Check
    result: Result
    seconds: float


async def run_check(check: Check, settings: Settings) -> Row:
    """The result of one check; a check that breaks off or does not end has failed."""
    limit = check.limit if settings.is_short else check.limit * _FULL_LIMIT_FACTOR
    started_at = time.perf_counter()
    try:
        async with asyncio.timeout(limit):
            result = await check.run(settings)
    except TimeoutError:
        result = Result(Status.FAILED, "did not end", (f"The check did not end within {limit:g} s.",))
    except Exception as error:
        _logger.exception("%s broke off", check.id)
        result = Result(Status.FAILED, "broke off", (f"The check broke off: {_describe(error)}",))
    return Row(check, result, time.perf_counter() - started_at)


async def run_all(checks: Sequence[Check], settings: Settings, report: Callable[[Row], None]) -> list[Row]:
    """The results of all; `report` is called with each as soon as it is known."""
    rows = []
    for check in checks:
        rows.append(await run_check(check, settings))
        report(rows[-1])
    return rows


def _describe(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
