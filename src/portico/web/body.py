"""Request bodies and leaving clients, on the bare ASGI interface."""

from __future__ import annotations

from starlette.types import Message, Receive, Scope

from portico.core.errors import MalformedRequest, PayloadTooLarge


class ClientLeft(Exception):
    """The client closed the connection; there is nobody to answer."""


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole body; reading stops as soon as it is known to be too large.

    Raises:
        PayloadTooLarge: more than `max_bytes`, stated or sent.
        MalformedRequest: a Content-Length that is no number.
        ClientLeft: the connection was closed before the end.
    """
    stated = dict(scope["headers"]).get(b"content-length", b"0")
    if not stated.isdigit():
        raise MalformedRequest("The Content-Length header is not a number.")
    if len(stated) > 18 or int(stated) > max_bytes:
        raise PayloadTooLarge(max_bytes)
    parts: list[bytes] = []
    size = 0
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        part = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            raise PayloadTooLarge(max_bytes)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def wait_until_client_leaves(receive: Receive) -> None:
    """Returns when the connection is closed. Only to be called after the whole body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass
