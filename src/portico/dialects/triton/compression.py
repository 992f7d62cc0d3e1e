"""Compressed bodies of infer requests and their answers."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping

from portico.core.errors import MalformedRequest, PayloadTooLarge, RequestError

IDENTITY = "identity"
# What zlib calls the two wrappings.
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class UnsupportedEncoding(RequestError):
    """The body is compressed in a way that this path does not read."""

    def __init__(self, encoding: str) -> None:
        super().__init__(f"Unsupported content-encoding '{encoding}'; gzip, deflate and identity are supported.")


def require_identity(headers: Mapping[str, str]) -> None:
    """Checks that a body is not compressed.

    Raises:
        MalformedRequest: it is.
    """
    if headers.get("content-encoding", "").strip().lower() not in ("", IDENTITY):
        raise MalformedRequest("Unsupported content-encoding, only 'identity' is supported.")


def decompress(body: bytes, headers: Mapping[str, str], max_bytes: int) -> bytes:
    """The body as it was before compression; no more than `max_bytes` are ever made.

    Raises:
        UnsupportedEncoding: the encoding is not known.
        MalformedRequest: the bytes are not what the header says.
        PayloadTooLarge: there would be more than `max_bytes`.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", IDENTITY):
        return body
    if encoding not in _WINDOW_BITS:
        raise UnsupportedEncoding(encoding)
    reader = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        plain = reader.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise MalformedRequest(f"The request body is not valid {encoding} data: {error}.") from None
    if len(plain) > max_bytes:
        raise PayloadTooLarge(max_bytes)
    if not reader.eof or reader.unused_data:
        raise MalformedRequest(f"The request body is not one whole {encoding} stream.")
    return plain


def compress(body: bytes, headers: Mapping[str, str]) -> tuple[bytes, str]:
    """The body as the client likes it best, and the encoding; of equal wishes the first counts."""
    encoding = _preferred(headers.get("accept-encoding", ""))
    if encoding == "gzip":
        return gzip.compress(body, compresslevel=6, mtime=0), encoding
    if encoding == "deflate":
        return zlib.compress(body), encoding
    return body, IDENTITY


def _preferred(accepted: str) -> str:
    best, best_weight = IDENTITY, 0.0
    for part in accepted.lower().split(","):
        name, _, parameters = part.partition(";")
        weight = _weight(parameters)
        if name.strip() in (*_WINDOW_BITS, IDENTITY) and weight > best_weight:
            best, best_weight = name.strip(), weight
    return best


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0
