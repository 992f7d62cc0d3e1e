"""One bad request and what must come of it."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from reliability.surfaces import Surface

_QUOTED = '"\\u0001raw{}\\u0001"'


class Verdict(enum.Enum):
    """What a server may do with an attack; it never fails, whichever it is."""

    REFUSED = "a status of 4xx in the wire's own shape"
    SURVIVED = "an answer or such a refusal"


@dataclass(frozen=True)
class Attack:
    """A request.

    Attributes:
        row: where it stands in the catalogue (`A1`).
        name: what it is, and of which path.
        wire: whose errors are expected; None is any of the server's wires.
        make_body: makes the body, which may be large, when it is sent.
        statuses: the only right ones, where a row names them.
        is_heavy: it costs seconds, so it has no place in a short run.
    """

    row: str
    name: str
    path: str
    make_body: Callable[[], bytes]
    wire: str | None
    verdict: Verdict = Verdict.REFUSED
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    statuses: tuple[int, ...] = ()
    streams_errors: bool = False
    is_heavy: bool = False


class Raw(str):
    """JSON text that stands in a body as it is, such as a number that no writer of JSON would write."""


def encode(body: Any) -> bytes:
    """JSON, with every `Raw` in its place."""
    texts: list[str] = []

    def mark(value: Any) -> Any:
        if isinstance(value, Raw):
            texts.append(str.__str__(value))
            return f"\x01raw{len(texts) - 1}\x01"
        if isinstance(value, dict):
            return {key: mark(each) for key, each in value.items()}
        if isinstance(value, list) and any(isinstance(each, Raw | dict | list) for each in value[:3]):
            return [mark(each) for each in value]
        return value

    encoded = json.dumps(mark(body))
    for number, text in enumerate(texts):
        encoded = encoded.replace(_QUOTED.format(number), text)
    return encoded.encode()


def on_surface(
    row: str,
    label: str,
    surface: Surface,
    make: Callable[[], Any],
    verdict: Verdict = Verdict.REFUSED,
    *,
    is_heavy: bool = False,
    wire: str | None = "",
    statuses: tuple[int, ...] = (),
) -> Attack:
    """An attack on one path with a body of JSON."""
    return Attack(
        row,
        f"{label} on {surface.name}",
        surface.path,
        lambda: encode(make()),
        surface.wire if wire == "" else wire,
        verdict,
        streams_errors=surface.streams_errors,
        is_heavy=is_heavy,
        statuses=statuses,
    )


def nested(depth: int, opening: str, closing: str, core: str = "1") -> Raw:
    """JSON text of some depth."""
    return Raw(opening * depth + core + closing * depth)


def by_row(attacks: Iterator[Attack]) -> dict[str, list[Attack]]:
    """Attacks in order of the catalogue."""
    rows: dict[str, list[Attack]] = {}
    for each in attacks:
        rows.setdefault(each.row, []).append(each)
    return rows
