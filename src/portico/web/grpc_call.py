"""The one path of remote procedures: every call is read, answered, refused and given up here."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import Any
from urllib.parse import unquote

import grpc

from portico.core.dialect import Describe, Generate, RawRequest
from portico.core.errors import EngineFailure, PorticoError
from portico.core.events import Event, fold
from portico.core.observer import RequestRecord
from portico.core.rpc import Converse, DescribeEach, MessageEncoder, Procedure, RpcDialect, RpcRefusal, Watch
from portico.core.tenant import Tenant
from portico.web import large_replies
from portico.web.endpoint import Context, new_record
from portico.web.guard import Access
from portico.web.identity import Identity, identify
from portico.web.routing import adds_up_tenants

logger = logging.getLogger(__name__)

_OK = 200
# How often it is looked whether there is something new to report, in seconds.
_WATCH_INTERVAL = 0.5


class _Refused(Exception):
    """The call ends with a status."""

    def __init__(self, refusal: RpcRefusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class _Stalled(Exception):
    """The client of a call reads nothing."""


class Caller:
    """Answers the calls of one procedure. Messages come and go as bytes.

    Calls that would go on for ever end when `stopping` is set.
    """

    def __init__(self, context: Context, dialect: RpcDialect, procedure: Procedure, stopping: asyncio.Event) -> None:
        self._context = context
        self._stopping = stopping
        self._dialect = dialect
        self._operation = procedure.operation
        needed = Access.OPERATOR if adds_up_tenants(procedure.operation) else Access.KEY
        self._access = Access.OPEN if procedure.is_open else needed
        self._route = f"/{procedure.service}/{procedure.method}"

    def handler(self) -> Any:
        """What the gRPC library calls."""
        match self._operation:
            case Converse():
                return grpc.stream_stream_rpc_method_handler(self._converse)
            case DescribeEach():
                return grpc.stream_stream_rpc_method_handler(self._describe_each)
            case Watch():
                return grpc.unary_stream_rpc_method_handler(self._watch)
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, body: bytes, call: Any) -> bytes:
        """One message for one; whatever happens, one record is ended."""
        raw = self._describe_request(body, call)
        try:
            with self._recorded(raw) as record:
                await call.send_initial_metadata(tuple(_identify(raw).headers.items()))
                tenant = self._admit(call, record)
                return await self._answer_message(raw, tenant, record)
        except _Refused as error:
            await _abort(call, error.refusal)
            raise

    async def _answer_message(self, raw: RawRequest, tenant: Tenant, record: RequestRecord) -> bytes:
        operation = self._operation
        if isinstance(operation, Describe):
            return operation.describe(raw, self._context.get_status()).body
        assert isinstance(operation, Generate)
        exchange = operation.decode(raw)
        record.describe(exchange.request)
        events: list[Event] = []
        async with aclosing(self._context.generator.generate(exchange.request, tenant)) as batches:
            async for batch in batches:
                record.observe(batch, self._context.observer)
                events.extend(batch)
        num_entries = large_replies.count_entries(exchange.request.output, record)
        return (await large_replies.write(lambda: exchange.reply(fold(events)), num_entries)).body

    async def _converse(self, bodies: AsyncIterator[bytes], call: Any) -> None:
        """Many messages for many: each one that comes is worked on at once, and answers interleave.

        The tasks belong to the call: when the client cancels it, so are they.
        """
        assert isinstance(self._operation, Converse)
        whole = self._describe_request(b"", call)
        ends_on_error = self._operation.ends_on_error(whole)
        conversation = _Conversation(call, self._context.send_timeout, ends_on_error=ends_on_error)
        refusal: RpcRefusal | None = None
        try:
            self._admit_conversation(call)
            await call.send_initial_metadata(tuple(_identify(whole).headers.items()))
            async with asyncio.TaskGroup() as tasks:
                async for body in bodies:
                    raw = self._describe_request(body, call)
                    # Once more for each: a key may be withdrawn while the call goes on.
                    tenant = self._admit_conversation(call)
                    tasks.create_task(self._reply(self._operation, raw, tenant, conversation))
        except* _Refused as group:
            # Raised here, what ends the call would be in a group too, and the library would not know it.
            refusal = _first_refusal(group).refusal
        except* _Stalled:
            logger.warning(
                "a call was given up: its client has read nothing for %g seconds", self._context.send_timeout
            )
            refusal = RpcRefusal("DEADLINE_EXCEEDED", "The client does not read its answers.", _OK)
        if refusal is not None:
            await _abort(call, refusal)

    async def _describe_each(self, bodies: AsyncIterator[bytes], call: Any) -> None:
        """One message for each that comes, one after another."""
        assert isinstance(self._operation, DescribeEach)
        try:
            self._admit_conversation(call)
            async for body in bodies:
                raw = self._describe_request(body, call)
                with self._recorded(raw):
                    await call.write(self._operation.describe(raw, self._context.get_status()).body)
        except _Refused as error:
            await _abort(call, error.refusal)

    async def _watch(self, body: bytes, call: Any) -> None:
        """A message at once, and then one for each change, until the client or the server leaves."""
        assert isinstance(self._operation, Watch)
        raw = self._describe_request(body, call)
        try:
            with self._recorded(raw) as record:
                self._admit(call, record)
                told: bytes | None = None
                while not self._stopping.is_set():
                    message = self._operation.describe(raw, self._context.get_status()).body
                    if message != told:
                        await call.write(message)
                        told = message
                    await _wait(self._stopping, _WATCH_INTERVAL)
        except _Refused as error:
            await _abort(call, error.refusal)

    async def _reply(self, operation: Converse, raw: RawRequest, tenant: Tenant, conversation: _Conversation) -> None:
        """All messages for one; an error is one of them, unless the client wants the call to end with it."""
        encoder: MessageEncoder | None = None
        try:
            with self._recorded(raw) as record:
                record.tenant = tenant.name
                record.is_streamed = True
                exchange = operation.decode(raw)
                record.describe(exchange.request)
                record.is_streamed = True
                async with aclosing(self._context.generator.generate(exchange.request, tenant)) as batches:
                    encoder = exchange.encoder()
                    async for batch in batches:
                        record.observe(batch, self._context.observer)
                        await conversation.write(encoder.feed(batch))
        except _Refused as error:
            if conversation.ends_on_error:
                raise
            cause = error.__cause__ if isinstance(error.__cause__, PorticoError) else _our_failure()
            await conversation.write(encoder.fail(cause) if encoder else [operation.refuse(raw, cause)])

    def _admit(self, call: Any, record: RequestRecord) -> Tenant:
        tenant = self._context.guard.admit(read_metadata(call), self._access, _address(call), self._route)
        record.tenant = tenant.name
        return tenant

    def _admit_conversation(self, call: Any) -> Tenant:
        """A refusal is a record of its own; what follows an admission has one for each message.

        Raises:
            _Refused: whoever calls is not let in.
        """
        record = new_record(identify(read_metadata(call)), self._dialect.name, self._route)
        try:
            return self._admit(call, record)
        except PorticoError as error:
            record.fail(error)
            refusal = self._dialect.refuse(error)
            record.end(refusal.http_status, self._context.observer)
            raise _Refused(refusal) from error

    @contextmanager
    def _recorded(self, raw: RawRequest) -> Iterator[RequestRecord]:
        """A record that is ended with the block.

        Raises:
            _Refused: any error of the block, which is its cause.
        """
        record = new_record(_identify(raw), self._dialect.name, self._route)
        status = _OK
        try:
            yield record
        except (asyncio.CancelledError, _Stalled):
            record.cancel()
            raise
        except PorticoError as error:
            record.fail(error)
            refusal = self._dialect.refuse(error)
            status = refusal.http_status
            raise _Refused(refusal) from error
        except Exception as error:
            logger.exception("request %s failed", record.name)
            record.fail(error)
            refusal = self._dialect.refuse(_our_failure())
            status = refusal.http_status
            raise _Refused(refusal) from error
        finally:
            record.end(status, self._context.observer)
            self._context.large_bodies.forget(len(raw.body))

    def _describe_request(self, body: bytes, call: Any) -> RawRequest:
        metadata = call.invocation_metadata() or ()
        return RawRequest(
            request_id=uuid.uuid4().hex,
            method="POST",
            path=self._route,
            path_params={},
            query={},
            headers={name: value for name, value in metadata if isinstance(value, str)},
            body=body,
            received_at=time.time(),
            limits=self._context.limits,
        )


class UnknownProcedures(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers the calls of procedures that are not there: without a key as those that are."""

    def __init__(self, context: Context, dialect: RpcDialect) -> None:
        self._context = context
        self._dialect = dialect

    def service(self, handler_call_details: Any) -> Any:
        """What the gRPC library calls when nothing before has answered."""
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    async def _refuse(self, bodies: AsyncIterator[bytes], call: Any) -> None:
        try:
            self._context.guard.admit(read_metadata(call), Access.KEY, _address(call))
        except PorticoError as error:
            await _abort(call, self._dialect.refuse(error))
        await call.abort(grpc.StatusCode.UNIMPLEMENTED, "There is no such procedure.")


def _address(call: Any) -> str:
    """The other end of a call's connection, which gRPC writes as `ipv4:127.0.0.1:80` and `ipv6:%5B::1%5D:80`."""
    _, _, peer = unquote(call.peer()).partition(":")
    return peer.rpartition(":")[0].strip("[]")


def read_metadata(call: Any) -> Iterator[tuple[bytes, bytes]]:
    """What a call brings as headers."""
    for name, value in call.invocation_metadata() or ():
        yield name.encode(), value.encode() if isinstance(value, str) else value


class _Conversation:
    """The answering side of a call; writers take turns, and wait while the client reads slowly."""

    def __init__(self, call: Any, send_timeout: float | None, *, ends_on_error: bool) -> None:
        self.ends_on_error = ends_on_error
        self._call = call
        self._send_timeout = send_timeout
        self._lock = asyncio.Lock()

    async def write(self, messages: Sequence[bytes]) -> None:
        """Sends messages in one go.

        Raises:
            _Stalled: the client has read none of them in time.
        """
        try:
            async with asyncio.timeout(self._send_timeout), self._lock:
                for message in messages:
                    await self._call.write(message)
        except TimeoutError:
            raise _Stalled from None


def _identify(raw: RawRequest) -> Identity:
    return identify(((name.encode(), value.encode()) for name, value in raw.headers.items()), raw.request_id)


async def _abort(call: Any, refusal: RpcRefusal) -> None:
    await call.abort(grpc.StatusCode[refusal.status], refusal.message)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until the event, for so long at most."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def _our_failure() -> EngineFailure:
    return EngineFailure("The server failed on this request.")


def _first_refusal(group: BaseExceptionGroup[_Refused]) -> _Refused:
    found = group.exceptions[0]
    return found if isinstance(found, _Refused) else _first_refusal(found)
