"""Other servers behind this one: there are none."""

from __future__ import annotations

from reliability.check import Check, Result, Settings

_REASON = "no engine of this server passes requests on to another server"


async def _has_no_upstream(settings: Settings) -> Result:
    return Result.not_applicable(_REASON)


CHECKS = (
    Check(
        "F12",
        "Faults",
        "Failing upstream",
        "another server refuses, hangs, breaks off: one retry loop before the first byte, one error after it",
        _has_no_upstream,
    ),
    Check(
        "F13",
        "Faults",
        "Circuit breaker",
        "a dead upstream is left alone after 5 failures and probed once a second",
        _has_no_upstream,
    ),
)
