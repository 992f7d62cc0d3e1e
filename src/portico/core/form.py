"""What a route reads and answers, as data for a document about the server. Nothing is checked with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from portico.core.errors import PorticoError

JSON, EVENTS = "application/json", "text/event-stream"

PART_PREFIX = "#/components/schemas/"
"""What stands before the name of a part where a schema refers to it."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema in the words of JSON Schema 2020-12, and by name the parts that it refers to."""

    root: Mapping[str, Any]
    parts: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Form:
    """What goes over the wire on one route.

    Attributes:
        body: gives the schema of the JSON in a request; None where the route reads no body.
        needs_body: a request without one is refused.
        binary: the media type of bodies that are not JSON, where there are such.
        answers: the media types of what the route answers by itself, by status; without any where it has no body.
        errors: an example of each kind of error that the route has besides those that all routes of its operation have;
            its status and its shape are the dialect's.
    """

    body: Callable[[], Schema] | None = None
    needs_body: bool = True
    binary: str = ""
    answers: Mapping[int, tuple[str, ...]] = field(default_factory=lambda: {200: (JSON,)})
    errors: tuple[PorticoError, ...] = ()
