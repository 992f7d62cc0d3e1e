"""All checks, in the order of the table. A module of checks gives them as `CHECKS`, and is named here."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from reliability import (
    access,
    bad_input,
    cancel,
    checkpoints,
    contract,
    crash,
    crowd,
    decoding,
    fuzz,
    growth,
    limits,
    load,
    soak,
    special_tokens,
    stopping,
    tenants,
    upstream,
)
from reliability.check import GROUPS, Check

_MODULES = (
    load,
    crowd,
    decoding,
    fuzz,
    soak,
    cancel,
    stopping,
    crash,
    limits,
    checkpoints,
    upstream,
    access,
    tenants,
    bad_input,
    growth,
    contract,
    special_tokens,
)


def all_checks() -> tuple[Check, ...]:
    """Every row, by group and number."""
    checks = list(chain.from_iterable(module.CHECKS for module in _MODULES))
    names = [check.id for check in checks]
    assert len(set(names)) == len(names), "two checks have one name"
    return tuple(sorted(checks, key=lambda check: (GROUPS.index(check.group), int(check.id[1:]))))


def choose(ids: Sequence[str], groups: Sequence[str]) -> list[Check]:
    """The checks of these names and groups; all of them if nothing is asked for.

    Raises:
        ValueError: there is no such check or group.
    """
    checks = all_checks()
    for kind, given, known in (
        ("check", ids, {check.id for check in checks}),
        ("group", groups, {check.group for check in checks}),
    ):
        if strange := [name for name in given if name not in known]:
            raise ValueError(f"There is no {kind} {', '.join(strange)}; there are {', '.join(sorted(known))}.")
    if not ids and not groups:
        return list(checks)
    return [check for check in checks if check.id in ids or check.group in groups]
