"""Errors in TGI's shape. Bodies that do not fit the schema are refused in plain text, as TGI's HTTP layer does."""

from __future__ import annotations

from dataclasses import dataclass

from portico.core.dialect import Reply
from portico.core.errors import (
    EngineFailure,
    MalformedRequest,
    MethodNotAllowed,
    NotReady,
    Overloaded,
    PayloadTooLarge,
    PorticoError,
    RequestError,
    UnknownModel,
    UnknownRoute,
)
from portico.dialects import wire

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _Row:
    """How a kind of error is told; `prefix` stands before its sentence."""

    status: int
    error_type: str
    prefix: str = ""


_TABLE: dict[type[PorticoError], _Row] = {
    RequestError: _Row(422, "validation", "Input validation error: "),
    UnknownModel: _Row(404, "not_found"),
    Overloaded: _Row(429, "overloaded", "Model is overloaded: "),
    NotReady: _Row(503, "healthcheck"),
    EngineFailure: _Row(424, "generation", "Request failed during generation: "),
    PorticoError: _Row(500, "incomplete_generation"),
}


def refuse(error: PorticoError) -> Reply:
    """The error as a whole answer."""
    match error:
        case MalformedRequest():
            return _text(400, f"Failed to parse the request body as JSON: {error}")
        case wire.SchemaMismatch():
            return _text(422, f"Failed to deserialize the JSON body into the target type: {error}")
        case UnknownRoute():
            return _text(404, str(error))
        case MethodNotAllowed():
            return _text(405, str(error), {"Allow": ", ".join(error.allowed)})
        case PayloadTooLarge():
            return _text(413, f"Failed to buffer the request body: {error}")
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Overloaded | NotReady) else {}
    return Reply(_row(error).status, encode(error), headers=headers)


def encode(error: PorticoError) -> bytes:
    """The error's JSON object, as it also stands in a stream."""
    row = _row(error)
    return _object(row.prefix + str(error), row.error_type)


def incomplete(error_type: str) -> bytes:
    """The JSON object for output that ended without a reason."""
    return _object("Incomplete generation", error_type)


def unhealthy() -> Reply:
    """What health routes say while no requests are taken."""
    return Reply(503, _object("unhealthy", "healthcheck"))


def _row(error: PorticoError) -> _Row:
    return next(_TABLE[kind] for kind in type(error).__mro__ if kind in _TABLE)


def _object(sentence: str, error_type: str) -> bytes:
    return wire.encode_json({"error": sentence, "error_type": error_type})


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, text.encode(), _TEXT, headers or {})
