"""Errors in the shapes of vLLM and of MindIE's vLLM interface.

Source: vLLM's `ErrorResponse`, whose `code` is the status as a number; MindIE Service's EndPoint API, error codes.
"""

from __future__ import annotations

from collections.abc import Mapping

from portico.core.dialect import Reply
from portico.core.errors import (
    EngineFailure,
    Forbidden,
    InvalidParameter,
    MalformedRequest,
    MethodNotAllowed,
    NotReady,
    Overloaded,
    PayloadTooLarge,
    PorticoError,
    PromptTooLong,
    QueueTimedOut,
    QuotaExceeded,
    TimedOut,
    Unauthorized,
    UnknownModel,
    UnknownRoute,
    UnsupportedMediaType,
    UnsupportedParameter,
)
from portico.dialects import wire

_Table = Mapping[type[PorticoError], tuple[int, str]]

_BAD_REQUEST = (400, "BadRequestError")
_BUSY = (503, "ServiceUnavailableError")
_FAILED = (500, "InternalServerError")
_UPSTREAM: _Table = {
    MalformedRequest: _BAD_REQUEST,
    InvalidParameter: _BAD_REQUEST,
    UnsupportedParameter: _BAD_REQUEST,
    PromptTooLong: _BAD_REQUEST,
    Unauthorized: (401, "UnauthorizedError"),
    Forbidden: (403, "ForbiddenError"),
    UnknownModel: (404, "NotFoundError"),
    UnknownRoute: (404, "NotFoundError"),
    MethodNotAllowed: (405, "MethodNotAllowedError"),
    UnsupportedMediaType: _BAD_REQUEST,
    PayloadTooLarge: (413, "PayloadTooLargeError"),
    QuotaExceeded: (429, "TooManyRequestsError"),
    Overloaded: _BUSY,
    NotReady: _BUSY,
    QueueTimedOut: _BUSY,
    TimedOut: (504, "GatewayTimeoutError"),
    EngineFailure: _FAILED,
    PorticoError: _FAILED,
}

_INVALID = (422, "Input Validation Error")
_UNAVAILABLE = (503, "Service Unavailable")
_INCOMPLETE = (500, "Incomplete Generation")
_MINDIE: _Table = {
    MalformedRequest: _INVALID,
    InvalidParameter: _INVALID,
    UnsupportedParameter: _INVALID,
    PromptTooLong: _INVALID,
    Unauthorized: (401, "Unauthorized"),
    Forbidden: (403, "Forbidden"),
    UnknownModel: _INVALID,
    UnknownRoute: (404, "NotFoundError"),
    MethodNotAllowed: (405, "Input Validation Error"),
    UnsupportedMediaType: (415, "Input Validation Error"),
    PayloadTooLarge: (413, "Input Validation Error"),
    QuotaExceeded: (429, "Too Many Requests"),
    Overloaded: _UNAVAILABLE,
    NotReady: _UNAVAILABLE,
    QueueTimedOut: _UNAVAILABLE,
    TimedOut: _INCOMPLETE,
    EngineFailure: _INCOMPLETE,
    PorticoError: _INCOMPLETE,
}


def refuse_upstream(error: PorticoError) -> Reply:
    """vLLM's error object."""
    status, kind = _row(_UPSTREAM, error)
    content = {"message": str(error), "type": kind, "param": _param(error), "code": status}
    return Reply(status, wire.encode_json({"error": content}), headers=wire.error_headers(error))


def refuse_mindie(error: PorticoError) -> Reply:
    """MindIE's pair of a sentence and a type."""
    status, kind = _row(_MINDIE, error)
    return Reply(status, wire.encode_json({"error": str(error), "error_type": kind}), headers=wire.error_headers(error))


def _row(table: _Table, error: PorticoError) -> tuple[int, str]:
    return next(table[kind] for kind in type(error).__mro__ if kind in table)


def _param(error: PorticoError) -> str | None:
    match error:
        case InvalidParameter() | UnsupportedParameter():
            return error.name or None
        case UnknownModel():
            return "model"
    return None
