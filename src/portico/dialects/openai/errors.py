"""Errors in OpenAI's shape.

Source: OpenAI API reference, "Error codes", and the exception classes of the official client, which read the status,
`message`, `type`, `param` and `code`.
"""

from __future__ import annotations

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

_REQUEST, _SERVER = "invalid_request_error", "server_error"

# Status, type and code.
_TABLE: dict[type[PorticoError], tuple[int, str, str | None]] = {
    MalformedRequest: (400, _REQUEST, "invalid_json"),
    wire.SchemaMismatch: (400, _REQUEST, "invalid_type"),
    InvalidParameter: (400, _REQUEST, "invalid_value"),
    UnsupportedParameter: (400, _REQUEST, "unsupported_parameter"),
    PromptTooLong: (400, _REQUEST, "context_length_exceeded"),
    Unauthorized: (401, _REQUEST, "invalid_api_key"),
    Forbidden: (403, _REQUEST, None),
    UnknownModel: (404, _REQUEST, "model_not_found"),
    UnknownRoute: (404, _REQUEST, "unknown_url"),
    MethodNotAllowed: (405, _REQUEST, "method_not_supported"),
    UnsupportedMediaType: (415, _REQUEST, "unsupported_media_type"),
    PayloadTooLarge: (413, _REQUEST, "request_too_large"),
    QuotaExceeded: (429, "rate_limit_error", "rate_limit_exceeded"),
    Overloaded: (429, "rate_limit_error", "rate_limit_exceeded"),
    NotReady: (503, _SERVER, "service_unavailable"),
    QueueTimedOut: (503, _SERVER, "service_unavailable"),
    TimedOut: (504, _SERVER, "timeout"),
    EngineFailure: (500, _SERVER, None),
    PorticoError: (500, _SERVER, None),
}


def refuse(error: PorticoError) -> Reply:
    """The answer to a request that failed before its answer began."""
    status, _, _ = _row(error)
    return Reply(status, encode_error(error), headers=wire.error_headers(error))


def encode_error(error: PorticoError) -> bytes:
    """The error object, as it stands in a stream too."""
    return wire.encode_json({"error": error_fields(error)})


def error_fields(error: PorticoError) -> dict[str, str | None]:
    """What the error object has."""
    _, kind, code = _row(error)
    message = str(error)
    if isinstance(error, wire.IntegerOutOfRange):
        message, code = _out_of_range(error)
    if isinstance(error, wire.SchemaMismatch) and error.is_missing:
        code = "missing_required_parameter"
    return {"message": message, "type": kind, "param": _param(error), "code": code}


def _out_of_range(error: wire.IntegerOutOfRange) -> tuple[str, str]:
    """OpenAI's sentence and code for an integer that is too large or too small."""
    sign, side, code = (">=", "below minimum", "integer_below_min_value")
    if error.number > 0:
        sign, side, code = ("<=", "above maximum", "integer_above_max_value")
    expected = f"Expected a value {sign} {error.limit}, but got {error.shown} instead."
    return f"Invalid '{error.name}': integer {side} value. {expected}", code


def _row(error: PorticoError) -> tuple[int, str, str | None]:
    return next(_TABLE[kind] for kind in type(error).__mro__ if kind in _TABLE)


def _param(error: PorticoError) -> str | None:
    match error:
        case InvalidParameter() | UnsupportedParameter():
            return error.name or None
        case UnknownModel():
            return "model"
    return None
