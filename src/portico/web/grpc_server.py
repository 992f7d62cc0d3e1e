"""The listening server of remote procedures, in the event loop of the HTTP server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from portico.core.rpc import RpcDialect
from portico.web.endpoint import Context
from portico.web.grpc_call import Caller, UnknownProcedures
from portico.web.server import LAST_BYTES_TIMEOUT, AddressInUse
from portico.web.tls import Tls, TlsContents

# Framing and names around the largest body.
_MESSAGE_OVERHEAD = 64 * 1024


@asynccontextmanager
async def serve_procedures(
    context: Context, dialects: Sequence[RpcDialect], reserved: socket.socket, tls: Tls | None = None
) -> AsyncIterator[None]:
    """Serves while the block runs; calls in progress have a moment to end then. The reserved address is taken over.

    With `tls` connections are encrypted as those of HTTP are, and clients must show the same certificates.

    Raises:
        AddressInUse: somebody else took the address in the moment between.
    """
    host, port = reserved.getsockname()[:2]
    stopping = asyncio.Event()
    server = grpc.aio.server(options=_options(context.max_body_bytes))
    for dialect in dialects:
        server.add_generic_rpc_handlers(_handlers(context, dialect, stopping))
    server.add_generic_rpc_handlers([UnknownProcedures(context, dialects[0])])
    reserved.close()
    try:
        _listen(server, f"[{host}]:{port}" if reserved.family == socket.AF_INET6 else f"{host}:{port}", tls)
    except RuntimeError as error:
        raise AddressInUse(f"cannot listen on {host} port {port}: {error}") from error
    await server.start()
    try:
        yield
    finally:
        stopping.set()
        await server.stop(LAST_BYTES_TIMEOUT)


def _listen(server: Any, address: str, tls: Tls | None) -> None:
    if tls is None:
        server.add_insecure_port(address)
        return
    used = tls.contents

    def renew() -> Any:
        """Asked for each connection, in a thread of the library; None where nothing has changed."""
        nonlocal used
        if used is tls.contents:
            return None
        used = tls.contents
        return _certificates(used)

    must_show = used.client_ca is not None
    server.add_secure_port(address, grpc.dynamic_ssl_server_credentials(_certificates(used), renew, must_show))


def _certificates(contents: TlsContents) -> Any:
    pair = (contents.key, contents.certificate)
    return grpc.ssl_server_certificate_configuration([pair], contents.client_ca)


def _options(max_body_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_body_bytes + _MESSAGE_OVERHEAD),
        ("grpc.max_send_message_length", -1),
        # Else a second server would share the port without a word, and get half of the calls.
        ("grpc.so_reuseport", 0),
    ]


def _handlers(context: Context, dialect: RpcDialect, stopping: asyncio.Event) -> list[Any]:
    by_service: dict[str, dict[str, Any]] = {}
    for procedure in dialect.procedures:
        handler = Caller(context, dialect, procedure, stopping).handler()
        by_service.setdefault(procedure.service, {})[procedure.method] = handler
    return [grpc.method_handlers_generic_handler(service, methods) for service, methods in by_service.items()]
