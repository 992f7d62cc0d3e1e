"""Errors in Anthropic's shape.

Source: Anthropic API reference, "Errors"; the official client chooses its exception by the status.
"""

from __future__ import annotations

from portico.core.dialect import Reply
from portico.core.errors import (
    EngineFailure,
    Forbidden,
    MethodNotAllowed,
    NotReady,
    Overloaded,
    PayloadTooLarge,
    PorticoError,
    QueueTimedOut,
    QuotaExceeded,
    RequestError,
    TimedOut,
    Unauthorized,
    UnknownModel,
    UnknownRoute,
)
from portico.dialects import wire

_REQUEST, _SERVER = "invalid_request_error", "api_error"

# Status and type; 529 is this API's own for too much load.
_TABLE: dict[type[PorticoError], tuple[int, str]] = {
    RequestError: (400, _REQUEST),
    Unauthorized: (401, "authentication_error"),
    Forbidden: (403, "permission_error"),
    UnknownModel: (404, "not_found_error"),
    UnknownRoute: (404, "not_found_error"),
    MethodNotAllowed: (405, _REQUEST),
    PayloadTooLarge: (413, "request_too_large"),
    QuotaExceeded: (429, "rate_limit_error"),
    Overloaded: (529, "overloaded_error"),
    NotReady: (503, _SERVER),
    QueueTimedOut: (529, "overloaded_error"),
    TimedOut: (504, "timeout_error"),
    EngineFailure: (500, _SERVER),
    PorticoError: (500, _SERVER),
}


def refuse(error: PorticoError) -> Reply:
    """The answer to a request that failed before its answer began."""
    return Reply(_row(error)[0], encode_error(error), headers=wire.error_headers(error))


def encode_error(error: PorticoError) -> bytes:
    """The error object, as it stands in a stream too."""
    return wire.encode_json({"type": "error", "error": {"type": _row(error)[1], "message": str(error)}})


def _row(error: PorticoError) -> tuple[int, str]:
    return next(_TABLE[kind] for kind in type(error).__mro__ if kind in _TABLE)
