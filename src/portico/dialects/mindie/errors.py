"""Errors in the shape of MindIE Service: a sentence and a type."""

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
    PromptTooLong,
    QueueTimedOut,
    QuotaExceeded,
    RequestError,
    TimedOut,
    Unauthorized,
    UnknownModel,
    UnknownRoute,
    UnsupportedMediaType,
)
from portico.dialects import wire
from portico.dialects.mindie.cluster import NotHere

_TABLE: dict[type[PorticoError], tuple[int, str]] = {
    RequestError: (422, "Input Validation Error"),
    NotHere: (501, "Not Implemented"),
    PromptTooLong: (424, "Generation Error"),
    Unauthorized: (401, "Unauthorized"),
    Forbidden: (403, "Forbidden"),
    UnknownModel: (404, "NotFoundError"),
    UnknownRoute: (404, "NotFoundError"),
    MethodNotAllowed: (405, "Method Not Allowed"),
    UnsupportedMediaType: (415, "Input Validation Error"),
    PayloadTooLarge: (413, "Input Validation Error"),
    QuotaExceeded: (429, "Too Many Requests"),
    Overloaded: (503, "Service Unavailable"),
    NotReady: (503, "Service Unavailable"),
    QueueTimedOut: (503, "Service Unavailable"),
    TimedOut: (500, "Incomplete Generation"),
    EngineFailure: (500, "Incomplete Generation"),
    PorticoError: (500, "Incomplete Generation"),
}


def refuse(error: PorticoError) -> Reply:
    """The error as a whole answer."""
    status, _ = _row(error)
    return Reply(status, encode(error), headers=wire.error_headers(error))


def encode(error: PorticoError) -> bytes:
    """The error's JSON object, as it also stands in a stream."""
    _, error_type = _row(error)
    is_begun = isinstance(error, TimedOut) and not isinstance(error, QueueTimedOut)
    sentence = f"Engine callback timeout: {error}" if is_begun else str(error)
    return wire.encode_json({"error": sentence, "error_type": error_type})


def _row(error: PorticoError) -> tuple[int, str]:
    return next(_TABLE[kind] for kind in type(error).__mro__ if kind in _TABLE)
