"""JSON and framing that carry no dialect's word."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from portico.core.errors import InvalidParameter, MalformedRequest

T = TypeVar("T")

_AT_PATH = re.compile(r"^(?P<message>.*) - at `(?:key in )?\$\.?(?P<path>.*)`$", re.DOTALL)
_encoder = msgspec.json.Encoder()


def encode_json(value: Any) -> bytes:
    """Compact JSON; structs and plain values alike."""
    return _encoder.encode(value)


def sse(payload: bytes) -> bytes:
    """One server-sent event without a name."""
    return b"data: " + payload + b"\n\n"


def decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a request body.

    Raises:
        MalformedRequest: the body is not UTF-8 JSON, is nested too deep, or is not an object.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequest(f"The request body is not valid JSON: {error}.") from None
    except RecursionError:
        raise MalformedRequest("The request body is nested too deep.") from None
    if not isinstance(value, dict):
        raise MalformedRequest("The request body must be a JSON object.")
    return value


def convert(fields: dict[str, Any], schema: type[T], scope: str = "") -> T:
    """Checks the fields of a decoded object against a schema.

    `scope` is put before the names of fields in errors, such as `parameters`.

    Raises:
        InvalidParameter: a field is missing or has the wrong type; it carries the path of the field.
    """
    try:
        return msgspec.convert(fields, schema, strict=True)
    except msgspec.ValidationError as error:
        message = str(error)
        path = ""
        if match := _AT_PATH.match(message):
            message, path = match["message"], match["path"]
        elif missing := re.search(r"missing required field `([^`]+)`", message):
            path = missing[1]
        name = ".".join(part for part in (scope, path) if part)
        where = f"`{name}`: " if name else ""
        raise InvalidParameter(name, f"{where}{message}.") from None
