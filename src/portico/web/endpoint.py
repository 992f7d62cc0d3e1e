"""The one HTTP path: every request of every dialect is read, answered, refused and given up here."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from portico.core.dialect import Describe, Detokenize, Dialect, Exchange, Generate, RawRequest, Tokenize
from portico.core.errors import EngineFailure, MethodNotAllowed, PorticoError, UnknownRoute
from portico.core.events import Event, fold
from portico.core.model import ServerLimits, ServerStatus
from portico.core.observer import Observer, RequestRecord
from portico.core.request import DetokenizeRequest, GenerationRequest, TokenizeRequest
from portico.core.tokens import Tokenized
from portico.web.body import ClientLeft, read_body, wait_until_client_leaves
from portico.web.routing import Candidate, SharedPath, UnclaimedBody, find_dialect
from portico.web.sender import Sender

logger = logging.getLogger(__name__)


class Generator(Protocol):
    """What the web layer asks of the service."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Sequence[Event], None]: ...


class Converter(Protocol):
    """What it asks of the service beside it, which generates nothing."""

    async def tokenize(self, request: TokenizeRequest) -> Tokenized: ...

    async def detokenize(self, request: DetokenizeRequest) -> str: ...


@dataclass(frozen=True, slots=True)
class Context:
    """What all endpoints share; the first dialect answers for paths that no dialect's prefix covers."""

    dialects: tuple[Dialect, ...]
    generator: Generator
    converter: Converter
    get_status: Callable[[], ServerStatus]
    observer: Observer
    limits: ServerLimits
    max_body_bytes: int


class Endpoint:
    """The ASGI application of one path."""

    def __init__(self, context: Context, path: SharedPath) -> None:
        self._context = context
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; whatever happens, exactly one response is sent and one record is ended."""
        request_id = uuid.uuid4().hex
        sender = Sender(send, request_id, has_body=scope["method"] != "HEAD")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        candidates = self._path.candidates.get(method) or next(iter(self._path.candidates.values()))
        dialect = candidates[-1].dialect
        record = RequestRecord(request_id, dialect.name, self._path.path)
        try:
            if method not in self._path.candidates:
                raise MethodNotAllowed(method, scope["path"], self._path.methods)
            body = await read_body(scope, receive, self._context.max_body_bytes)
            chosen = self._path.choose(method, body)
            dialect = chosen.dialect
            record.dialect = dialect.name
            raw = self._describe_request(scope, method, request_id, body)
            await _unless_client_leaves(receive, self._answer(chosen, raw, sender, record))
        except ClientLeft:
            record.cancel()
        except PorticoError as error:
            record.fail(error)
            await sender.reply((error.dialect if isinstance(error, UnclaimedBody) else dialect).refuse(error))
        except Exception as error:
            logger.exception("request %s failed", request_id)
            record.fail(error)
            if not sender.status:
                await sender.reply(dialect.refuse(EngineFailure("The server failed on this request.")))
        finally:
            record.end(sender.status, self._context.observer)

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

    async def _answer(self, chosen: Candidate, raw: RawRequest, sender: Sender, record: RequestRecord) -> None:
        match chosen.route.operation:
            case Describe(describe):
                await sender.reply(describe(raw, self._context.get_status()))
            case Tokenize(decode):
                tokenizing = decode(raw)
                await sender.reply(tokenizing.reply(await self._context.converter.tokenize(tokenizing.request)))
            case Detokenize(decode):
                detokenizing = decode(raw)
                await sender.reply(detokenizing.reply(await self._context.converter.detokenize(detokenizing.request)))
            case Generate(decode):
                await self._generate(decode(raw), sender, record)

    async def _generate(self, exchange: Exchange, sender: Sender, record: RequestRecord) -> None:
        record.is_streamed = exchange.request.stream
        async with aclosing(self._context.generator.generate(exchange.request)) as batches:
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
        await sender.reply(exchange.reply(fold(events)))

    async def _stream(
        self,
        exchange: Exchange,
        batches: AsyncGenerator[Sequence[Event], None],
        sender: Sender,
        record: RequestRecord,
    ) -> None:
        """The head is sent with the first batch, so that errors before it keep their status."""
        encoder = exchange.encoder()
        try:
            async for batch in batches:
                record.observe(batch, self._context.observer)
                if not sender.status:
                    await sender.start_stream(encoder.media_type, encoder.headers)
                await sender.write(b"".join(map(encoder.feed, batch)))
        except PorticoError as error:
            if not sender.status:
                raise
            record.fail(error)
            await sender.end_stream(encoder.fail(error))
        else:
            await sender.end_stream(encoder.close())


class NotFound:
    """The ASGI application for every path that no dialect serves."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses in the shape of the dialect whose prefix covers the path."""
        request_id = uuid.uuid4().hex
        sender = Sender(send, request_id, has_body=scope["method"] != "HEAD")
        dialect = find_dialect(self._context.dialects, scope["path"])
        record = RequestRecord(request_id, dialect.name, "")
        error = UnknownRoute(scope["method"], scope["path"])
        record.fail(error)
        await sender.reply(dialect.refuse(error))
        record.end(sender.status, self._context.observer)


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
