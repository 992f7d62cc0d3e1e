"""What a dialect does with every field: honoured, neutral-only or refused. Nothing is ignored.

The ledger is data. Decoding checks requests with it, the documentation is generated from it, and tests walk it.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from portico.core.errors import UnsupportedParameter

# Characters of a refused value that the refusal repeats.
_MAX_SHOWN = 100


class Treatment(enum.Enum):
    """What happens to a field."""

    HONOURED = "honoured"
    NEUTRAL_ONLY = "neutral only"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Entry:
    """One field. `neutral` are the values that a neutral-only field may have (null always may)."""

    field: str
    treatment: Treatment
    note: str
    neutral: tuple[Any, ...] = ()


def honoured(field: str, note: str = "") -> Entry:
    """A field that has its documented effect."""
    return Entry(field, Treatment.HONOURED, note)


def neutral(field: str, note: str, *values: Any) -> Entry:
    """A field that is accepted with values that change nothing, and refused with others.

    Without `values` every value is neutral: the field is a remark that has no effect on the answer by its nature, such
    as a user's name for the provider's records.
    """
    return Entry(field, Treatment.NEUTRAL_ONLY, note, values)


def refused(field: str, note: str) -> Entry:
    """A field that is refused unless null; `note` is the reason that the client is told."""
    return Entry(field, Treatment.REFUSED, note)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The fields of one kind of request; `scope` is where they stand, such as `parameters`, or empty for the top."""

    title: str
    scope: str
    entries: tuple[Entry, ...]

    def check(self, fields: Mapping[str, Any]) -> None:
        """Lets honoured fields and neutral values pass.

        Raises:
            UnsupportedParameter: a field is unknown, refused, or neutral-only with another value.
        """
        by_name = {entry.field: entry for entry in self.entries}
        for name, value in fields.items():
            path = f"{self.scope}.{name}" if self.scope else name
            entry = by_name.get(name)
            if entry is None:
                raise UnsupportedParameter(path, f"Unknown parameter: `{path}`.")
            if value is None or entry.treatment is Treatment.HONOURED:
                continue
            if entry.treatment is Treatment.REFUSED:
                raise UnsupportedParameter(path, f"`{path}` is not supported: {entry.note}")
            if entry.neutral and not any(_same(value, allowed) for allowed in entry.neutral):
                allowed = ", ".join(_show(each) for each in entry.neutral)
                raise UnsupportedParameter(
                    path, f"`{path}` is not supported with the value {_show(value)} (accepted: {allowed}): {entry.note}"
                )


def _show(value: Any) -> str:
    """The value as the client wrote it, or its beginning."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."


def _same(value: Any, allowed: Any) -> bool:
    return bool(value == allowed) and isinstance(value, bool) == isinstance(allowed, bool)
