"""Errors in Triton's shape: one object with one sentence.

Where Triton answers 500 to bodies that are not JSON or have wrong types, the status here is 400, since sending them
again does not help.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from portico.core.dialect import Reply
from portico.core.errors import (
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
from portico.dialects.triton.compression import UnsupportedEncoding


class UnknownVersion(RequestError):
    """A served model does not have that version."""

    def __init__(self, model: str, version: str) -> None:
        super().__init__(f"Request for unknown model: '{model}' version {version} is not found. The only version is 1.")


class ModelControlRefused(RequestError):
    """Models are neither loaded nor unloaded by clients."""

    def __init__(self) -> None:
        super().__init__("explicit model load / unload is not allowed if polling is enabled")


class SharedMemoryDisabled(RequestError):
    """Tensors come and go in messages alone."""

    def __init__(self) -> None:
        super().__init__("Client shared memory is disabled. Send tensors in the request.")


class RepositoryUnsupported(RequestError):
    """A request names one of several model repositories."""

    def __init__(self) -> None:
        super().__init__("'repository_name' specification is not supported")


class SettingRefused(RequestError):
    """A setting that clients cannot change to what they ask for."""

    def __init__(self, name: str, current: object, reason: str) -> None:
        super().__init__(f"'{name}' is {current!r} and can not be updated through network protocol: {reason}")


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """Status of each kind of error and, in flavours that tell it, its type."""

    rows: Mapping[type[PorticoError], tuple[int, str | None]]


TRITON = ErrorTable(
    {
        RequestError: (400, None),
        Unauthorized: (401, None),
        Forbidden: (403, None),
        UnknownModel: (404, None),
        UnknownVersion: (404, None),
        UnknownRoute: (404, None),
        MethodNotAllowed: (405, None),
        UnsupportedMediaType: (415, None),
        UnsupportedEncoding: (501, None),
        ModelControlRefused: (503, None),
        SharedMemoryDisabled: (501, None),
        RepositoryUnsupported: (501, None),
        SettingRefused: (501, None),
        QuotaExceeded: (429, None),
        Overloaded: (503, None),
        NotReady: (503, None),
        TimedOut: (503, None),
        PorticoError: (500, None),
    }
)
MINDIE = ErrorTable(
    {
        RequestError: (422, "Input Validation Error"),
        PromptTooLong: (424, "Generation Error"),
        Unauthorized: (401, "Unauthorized"),
        Forbidden: (403, "Forbidden"),
        UnknownModel: (404, "NotFoundError"),
        UnknownVersion: (404, "NotFoundError"),
        UnknownRoute: (404, "NotFoundError"),
        MethodNotAllowed: (405, "Method Not Allowed"),
        UnsupportedMediaType: (415, "Input Validation Error"),
        ModelControlRefused: (503, "Service Unavailable"),
        PayloadTooLarge: (413, "Input Validation Error"),
        QuotaExceeded: (429, "Too Many Requests"),
        Overloaded: (503, "Service Unavailable"),
        NotReady: (503, "Service Unavailable"),
        QueueTimedOut: (503, "Service Unavailable"),
        PorticoError: (500, "Incomplete Generation"),
    }
)


def find_status(error: PorticoError, table: ErrorTable) -> int:
    """The HTTP status of an error."""
    return _row(error, table)[0]


def refuse(error: PorticoError, table: ErrorTable) -> Reply:
    """The error as a whole answer."""
    status, _ = _row(error, table)
    return Reply(status, encode(error, table), headers=_headers(error))


def encode(error: PorticoError, table: ErrorTable) -> bytes:
    """The error's JSON object, as it also stands in a stream."""
    _, error_type = _row(error, table)
    fields = {"error": describe(error)}
    return wire.encode_json(fields if error_type is None else {**fields, "error_type": error_type})


def _row(error: PorticoError, table: ErrorTable) -> tuple[int, str | None]:
    return next(table.rows[kind] for kind in type(error).__mro__ if kind in table.rows)


def describe(error: PorticoError) -> str:
    """The sentence for the client."""
    match error:
        case UnknownModel():
            names = ", ".join(error.served_names)
            return f"Request for unknown model: '{error.name}' is not found. Served models: {names}."
        case UnknownRoute():
            return f"Not Found: {error}"
        case MethodNotAllowed():
            return f"Method Not Allowed: {error}"
        case PayloadTooLarge():
            return f"{error} It exceeds the maximum allowed input size of {error.max_bytes} bytes."
    return str(error)


def _headers(error: PorticoError) -> dict[str, str]:
    if isinstance(error, UnsupportedEncoding):
        return {"Accept-Encoding": "gzip, deflate"}
    return wire.error_headers(error)
