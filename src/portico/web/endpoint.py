"""The one HTTP path: every request of every dialect is read, answered, refused and given up here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from portico.core.dialect import (
    Describe,
    Detokenize,
    Dialect,
    Exchange,
    Generate,
    RawRequest,
    Reply,
    Shutdown,
    Stop,
    StreamEncoder,
    Tokenize,
)
from portico.core.errors import EngineFailure, MethodNotAllowed, PorticoError, UnknownRoute
from portico.core.events import Event, fold
from portico.core.model import ServerLimits, ServerStatus
from portico.core.observer import Observer, RequestRecord
from portico.core.request import DetokenizeRequest, GenerationRequest, TokenizeRequest
from portico.core.tenant import Tenant
from portico.core.tokens import Tokenized
from portico.web import large_replies
from portico.web.body import ClientLeft, read_body, wait_until_client_leaves
from portico.web.guard import Access, Guard, client_address
from portico.web.identity import Identity, identify
from portico.web.large_bodies import LargeBodies
from portico.web.media_type import check_media_type
from portico.web.routing import Candidate, SharedPath, UnclaimedBody, find_dialect, find_similar
from portico.web.sender import Sender
from portico.web.slices import MAX_EVENTS, encode_in_parts

logger = logging.getLogger(__name__)

# Seconds without a byte after which a stream says that it is alive, where its wire can.
_MAX_SILENCE = 15.0


class Generator(Protocol):
    """What the web layer asks of the service."""

    def generate(self, request: GenerationRequest, tenant: Tenant) -> AsyncGenerator[Sequence[Event], None]: ...

    def stop(self, client_id: str, tenant: Tenant) -> bool: ...


class Converter(Protocol):
    """What it asks of the service beside it, which generates nothing."""

    async def tokenize(self, request: TokenizeRequest, tenant: Tenant) -> Tokenized: ...

    async def detokenize(self, request: DetokenizeRequest, tenant: Tenant) -> str: ...


class Stopper(Protocol):
    """How the server is stopped by a request."""

    async def stop(self, is_forced: bool) -> bool:
        """Lets nothing new in and returns when nothing runs, or at once if it is forced; the process ends then.

        False when the server is being stopped already.
        """


@dataclass(frozen=True, slots=True)
class Context:
    """What all endpoints share; the first dialect answers for paths that no dialect's prefix covers.

    `stopper` is there where routes that stop the server are served. Remote procedures are given up when their client
    reads nothing for `send_timeout` seconds; HTTP's connections see to that themselves.
    """

    dialects: tuple[Dialect, ...]
    generator: Generator
    converter: Converter
    get_status: Callable[[], ServerStatus]
    observer: Observer
    limits: ServerLimits
    max_body_bytes: int
    stopper: Stopper | None = None
    guard: Guard = field(default_factory=Guard)
    send_timeout: float | None = None
    large_bodies: LargeBodies = field(default_factory=LargeBodies)


class Endpoint:
    """The ASGI application of one path."""

    def __init__(self, context: Context, path: SharedPath) -> None:
        self._context = context
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; whatever happens, exactly one response is sent and one record is ended."""
        identity = identify(scope["headers"])
        sender = Sender(scope, send, identity.headers)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        candidates = self._path.candidates.get(method) or next(iter(self._path.candidates.values()))
        dialect = candidates[-1].dialect
        refuse: Callable[[PorticoError], Reply] = dialect.refuse
        record = new_record(identity, dialect.name, self._path.path)
        body = b""
        try:
            access, address = self._path.access(method), client_address(scope)
            tenant = self._context.guard.admit(scope["headers"], access, address, self._path.path)
            record.tenant = tenant.name
            if method not in self._path.candidates:
                raise MethodNotAllowed(method, scope["path"], self._path.methods)
            body = await read_body(scope, receive, self._context.max_body_bytes)
            chosen = self._path.choose(method, body)
            record.dialect = chosen.dialect.name
            if scope["method"] == "HEAD" and isinstance(chosen.route.operation, Shutdown):
                # Whoever asks for a head wants to look, not to act.
                raise MethodNotAllowed("HEAD", scope["path"], self._path.methods)
            raw = self._describe_request(scope, method, identity.request_id, body)
            refuse = partial(chosen.route.refuse, raw) if chosen.route.refuse else chosen.dialect.refuse
            check_media_type(raw.headers, chosen.route)
            await _unless_client_leaves(receive, self._answer(chosen, raw, tenant, sender, record))
        except ClientLeft:
            record.cancel()
        except PorticoError as error:
            record.fail(error)
            await sender.reply((error.dialect.refuse if isinstance(error, UnclaimedBody) else refuse)(error))
        except Exception as error:
            logger.exception("request %s failed", identity.name)
            record.fail(error)
            if not sender.status:
                await sender.reply(refuse(EngineFailure("The server failed on this request.")))
        finally:
            record.end(sender.status, self._context.observer)
            self._context.large_bodies.forget(len(body))

    def _describe_request(self, scope: Scope, method: str, request_id: str, body: bytes) -> RawRequest:
        return RawRequest(
            request_id=request_id,
            method=method,
            path=scope["path"],
            path_params=scope["path_params"],
            query=dict(QueryParams(scope["query_string"])),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            body=body,
            received_at=time.time(),
            limits=self._context.limits,
        )

    async def _answer(
        self, chosen: Candidate, raw: RawRequest, tenant: Tenant, sender: Sender, record: RequestRecord
    ) -> None:
        match chosen.route.operation:
            case Describe(describe):
                await sender.reply(describe(raw, self._context.get_status()))
            case Tokenize(decode):
                tokenizing = decode(raw)
                tokenized = await self._context.converter.tokenize(tokenizing.request, tenant)
                reply = await large_replies.write(partial(tokenizing.reply, tokenized), len(tokenized.tokens))
                # It can be larger than the answer, which may take its client long to read.
                del tokenized
                await sender.reply(reply)
            case Detokenize(decode):
                detokenizing = decode(raw)
                text = await self._context.converter.detokenize(detokenizing.request, tenant)
                await sender.reply(detokenizing.reply(text))
            case Stop(decode):
                stopping = decode(raw)
                await sender.reply(stopping.reply(self._context.generator.stop(stopping.client_id, tenant)))
            case Shutdown(decode):
                shutdown = decode(raw)
                assert self._context.stopper is not None
                await sender.reply(shutdown.reply(await self._context.stopper.stop(shutdown.is_forced)))
            case Generate(decode):
                await self._generate(decode(raw), tenant, sender, record)

    async def _generate(self, exchange: Exchange, tenant: Tenant, sender: Sender, record: RequestRecord) -> None:
        record.describe(exchange.request)
        async with aclosing(self._context.generator.generate(exchange.request, tenant)) as batches:
            if exchange.request.stream:
                await self._stream(exchange, batches, sender, record)
            else:
                await self._reply(exchange, batches, sender, record)

    async def _reply(
        self,
        exchange: Exchange,
        batches: AsyncGenerator[Sequence[Event], None],
        sender: Sender,
        record: RequestRecord,
    ) -> None:
        events: list[Event] = []
        async for batch in batches:
            record.observe(batch, self._context.observer)
            events.extend(batch)
        num_entries = large_replies.count_entries(exchange.request.output, record)
        reply = await large_replies.write(lambda: exchange.reply(fold(events)), num_entries)
        await sender.reply(reply)

    async def _stream(
        self,
        exchange: Exchange,
        batches: AsyncGenerator[Sequence[Event], None],
        sender: Sender,
        record: RequestRecord,
    ) -> None:
        """The head is sent with the first bytes, so that errors before them keep their status.

        A wire that can say that it is alive says so from the first batch on, which has no bytes on some.
        """
        encoder = exchange.encoder()
        observer = self._context.observer
        describes_prompts = exchange.request.output.describes_prompts
        try:
            async with _keeping_alive(sender, encoder):
                async for batch in batches:
                    record.observe(batch, observer)
                    if describes_prompts and large_replies.is_large(batch):
                        part = await asyncio.to_thread(encoder.feed, batch)
                        await (sender.write(part) if sender.status else _begin_stream(sender, encoder, part))
                    elif not sender.status:
                        await _begin_stream(sender, encoder, encoder.feed(batch))
                    elif len(batch) > MAX_EVENTS:
                        # They have piled up behind a slow reader, who is not given more at once than it can take.
                        for part in encode_in_parts(batch, encoder):
                            await sender.write(part)
                    elif not sender.write_at_once(part := encoder.feed(batch)):
                        await sender.write(part)
        except PorticoError as error:
            if not sender.status:
                raise
            record.fail(error)
            await sender.end_stream(encoder.fail(error))
        else:
            await _end_stream(sender, encoder)


def new_record(identity: Identity, dialect: str, route: str) -> RequestRecord:
    """The record of a request that has just come."""
    return RequestRecord(identity.request_id, dialect, route, name=identity.name, trace_id=identity.trace_id)


class NotFound:
    """The ASGI application for every path that no dialect serves."""

    def __init__(self, context: Context, paths: Sequence[str]) -> None:
        self._context = context
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses in the shape of the dialect whose prefix covers the path, and names a path that is written alike."""
        identity = identify(scope["headers"])
        sender = Sender(scope, send, identity.headers)
        dialect = find_dialect(self._context.dialects, scope["path"])
        record = new_record(identity, dialect.name, "")
        error: PorticoError = UnknownRoute(scope["method"], scope["path"], find_similar(self._paths, scope["path"]))
        try:
            # Whoever has no key learns nothing of which paths there are.
            record.tenant = self._context.guard.admit(scope["headers"], Access.KEY, client_address(scope)).name
        except PorticoError as refusal:
            error = refusal
        record.fail(error)
        await sender.reply(dialect.refuse(error))
        record.end(sender.status, self._context.observer)


async def _begin_stream(sender: Sender, encoder: StreamEncoder, part: bytes) -> None:
    """The head with the first part, or alone where it can be followed by signs of life."""
    if part or encoder.keep_alive:
        await sender.start_stream(encoder.media_type, encoder.headers)
        await sender.write(part)


async def _end_stream(sender: Sender, encoder: StreamEncoder) -> None:
    """What comes last, after the head at least."""
    if not sender.status:
        await sender.start_stream(encoder.media_type, encoder.headers)
    await sender.end_stream(encoder.close())


@asynccontextmanager
async def _keeping_alive(sender: Sender, encoder: StreamEncoder) -> AsyncIterator[None]:
    """Lets proxies and clients know that the answer goes on while nothing can be said."""
    if not encoder.keep_alive:
        yield
        return
    task = asyncio.ensure_future(sender.keep_alive(encoder.keep_alive, _MAX_SILENCE))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _unless_client_leaves(receive: Receive, work: Coroutine[None, None, None]) -> None:
    """Does the work, but cancels it when the client closes the connection.

    Raises:
        ClientLeft: the work was cancelled.
    """
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(wait_until_client_leaves(receive))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeft
        await task
    finally:
        task.cancel()
        watcher.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)
        # An error holds this frame, and the tasks hold the error: together they would keep the request, with all that
        # was made of its body, until the collector finds them.
        del task, watcher
