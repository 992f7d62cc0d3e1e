"""Errors in Triton's shape: one object with one sentence.

Where Triton answers 500 to bodies that are not JSON or have wrong types, the status here is 400, since sending them
again does not help.
"""

from __future__ import annotations

from portico.core.dialect import Reply
from portico.core.errors import (
    MethodNotAllowed,
    NotReady,
    Overloaded,
    PorticoError,
    RequestError,
    UnknownModel,
    UnknownRoute,
)
from portico.dialects import wire


class UnknownVersion(RequestError):
    """A served model does not have that version."""

    def __init__(self, model: str, version: str) -> None:
        super().__init__(f"Request for unknown model: '{model}' version {version} is not found. The only version is 1.")


_STATUS: dict[type[PorticoError], int] = {
    RequestError: 400,
    UnknownModel: 404,
    UnknownVersion: 404,
    UnknownRoute: 404,
    MethodNotAllowed: 405,
    Overloaded: 503,
    NotReady: 503,
    PorticoError: 500,
}


def refuse(error: PorticoError) -> Reply:
    """The error as a whole answer."""
    status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    return Reply(status, encode(error), headers=_headers(error))


def encode(error: PorticoError) -> bytes:
    """The error's JSON object, as it also stands in a stream."""
    return wire.encode_json({"error": _sentence(error)})


def _sentence(error: PorticoError) -> str:
    match error:
        case UnknownModel():
            names = ", ".join(error.served_names)
            return f"Request for unknown model: '{error.name}' is not found. Served models: {names}."
        case UnknownRoute():
            return f"Not Found: {error}"
        case MethodNotAllowed():
            return f"Method Not Allowed: {error}"
    return str(error)


def _headers(error: PorticoError) -> dict[str, str]:
    match error:
        case MethodNotAllowed():
            return {"Allow": ", ".join(error.allowed)}
        case Overloaded() | NotReady():
            return {"Retry-After": str(error.retry_after)}
    return {}
