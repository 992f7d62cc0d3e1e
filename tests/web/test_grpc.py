"""Remote procedures of a dialect of one line, on a listening server with the scripted engine behind it."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from portico.core.dialect import Describe, Generate, RawRequest, Reply
from portico.core.errors import EngineFailure, InvalidParameter, PorticoError, RequestError
from portico.core.events import Delta, Event, Finished
from portico.core.model import ServedModel, ServerStatus
from portico.core.observer import Outcome
from portico.core.request import GenerationRequest
from portico.core.rpc import Converse, DescribeEach, Procedure, RpcDialect, RpcRefusal, Watch
from portico.text.tokenizer import Tokenizer
from portico.web.endpoint import Context
from portico.web.grpc_server import serve_procedures
from portico.web.server import AddressInUse, bind
from portico.web.tls import Tls, TlsFiles
from tests.service.conftest import Bench
from tests.web.fake_dialect import FakeDialect, decode, describe
from tests.web.test_endpoint import LIMITS, RecordKeeper, tokenizer

__all__ = ["tokenizer"]


class Encoder:
    def __init__(self, name: str) -> None:
        self._name = name

    def feed(self, events: Sequence[Event]) -> list[bytes]:
        pieces = [event.text for event in events if isinstance(event, Delta) and event.text]
        pieces += ["|" for event in events if isinstance(event, Finished)]
        return [f"{self._name}:{piece}".encode() for piece in pieces]

    def fail(self, error: PorticoError) -> list[bytes]:
        return [f"{self._name}!{type(error).__name__}".encode()]


@dataclass(frozen=True)
class Exchange:
    request: GenerationRequest
    name: str

    def encoder(self) -> Encoder:
        return Encoder(self.name)


def decode_message(raw: RawRequest) -> Exchange:
    return Exchange(decode(raw).request, raw.body.decode())


def refuse(error: PorticoError) -> RpcRefusal:
    if isinstance(error, RequestError):
        return RpcRefusal("INVALID_ARGUMENT", str(error), 400)
    return RpcRefusal("INTERNAL", str(error), 500)


def describe_each(raw: RawRequest, status: ServerStatus) -> Reply:
    if raw.body == b"bad":
        raise InvalidParameter("", "bad")
    return Reply(200, raw.body + status.version.encode())


def describe_readiness(raw: RawRequest, status: ServerStatus) -> Reply:
    return Reply(200, b"ready" if status.is_ready else b"not ready")


DIALECT = RpcDialect(
    "first",
    (
        Procedure("fake.Service", "Describe", Describe(describe)),
        Procedure("fake.Service", "Write", Generate(decode)),
        Procedure(
            "fake.Service",
            "Talk",
            Converse(
                decode_message,
                lambda raw, error: raw.body + b"?" + str(error).encode(),
                lambda raw: raw.headers.get("strict") == "yes",
            ),
        ),
        Procedure("fake.Service", "Each", DescribeEach(describe_each)),
        Procedure("fake.Service", "Watch", Watch(describe_readiness)),
    ),
    refuse,
)


@dataclass
class Readiness:
    """What the status says of it."""

    is_ready: bool = True


@dataclass
class Site:
    channel: grpc.aio.Channel
    keeper: RecordKeeper
    bench: Bench
    readiness: Readiness
    address: str

    def call(self, method: str) -> Any:
        return self.channel.unary_unary(f"/fake.Service/{method}")

    def talk(self, **metadata: str) -> Any:
        return self.channel.stream_stream("/fake.Service/Talk")(metadata=tuple(metadata.items()))

    async def wait_for_records(self, count: int) -> None:
        for _ in range(300):
            if len(self.keeper.records) >= count:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("records are missing")


def build_context(bench: Bench, service: Any, keeper: RecordKeeper, readiness: Readiness | None = None) -> Context:
    served = ServedModel(("model",), False, "/model")

    def get_status() -> ServerStatus:
        is_ready = readiness is None or readiness.is_ready
        return ServerStatus("1", served, bench.engine.info, LIMITS, is_ready, 0, bench.engine.stats(), 0)

    dialects = (FakeDialect("first"),)
    return Context(
        dialects=dialects,
        generator=service,
        converter=bench.converter,
        stopper=service,
        get_status=get_status,
        observer=keeper,
        limits=LIMITS,
        max_body_bytes=1000,
    )


@asynccontextmanager
async def open_site(tokenizer: Tokenizer, send_timeout: float | None = None, **config: Any) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        bench = Bench(tokenizer, stack)
        service = await bench.start(**config)
        keeper = RecordKeeper()
        reserved = bind("127.0.0.1", 0)
        port = reserved.getsockname()[1]
        readiness = Readiness()
        context = replace(build_context(bench, service, keeper, readiness), send_timeout=send_timeout)
        await stack.enter_async_context(serve_procedures(context, [DIALECT], reserved))
        address = f"127.0.0.1:{port}"
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        yield Site(channel, keeper, bench, readiness, address)


async def read(call: Any) -> list[str]:
    return [message.decode() async for message in call]


async def read_one_by_one(call: Any) -> None:
    """The library does not let go from reading one message to reading all."""
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_one_message_for_one(tokenizer: Tokenizer) -> None:
    async with open_site(tokenizer) as site:
        assert await site.call("Describe")(b"") == b" {} True"
        assert await site.call("Write")(b"hi") == b"hello world"
        await site.wait_for_records(2)
        record = site.keeper.records[-1]
        assert (record.dialect, record.route, record.status) == ("first", "/fake.Service/Write", 200)
        assert (record.outcome, record.num_output_tokens) == (Outcome.ANSWERED, 12)


async def test_errors_have_a_status_and_hide_ours(tokenizer: Tokenizer, caplog: Any) -> None:
    caplog.set_level(logging.CRITICAL)
    async with open_site(tokenizer) as site:
        for body, status, text in (
            (b"bad", grpc.StatusCode.INVALID_ARGUMENT, "bad is bad."),
            (b"bug", grpc.StatusCode.INTERNAL, "The server failed on this request."),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await site.call("Write")(body)
            assert (failure.value.code(), failure.value.details()) == (status, text)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await site.call("Nothing")(b"")
        assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED
        await site.wait_for_records(2)
        assert [record.status for record in site.keeper.records] == [400, 500]


async def test_too_large_a_message(tokenizer: Tokenizer) -> None:
    async with open_site(tokenizer) as site:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await site.call("Write")(b"x" * 100_000)
        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_answers_interleave(tokenizer: Tokenizer) -> None:
    async with open_site(tokenizer, token_delay=0.01) as site:
        call = site.talk()
        await call.write(b"a")
        await call.write(b"bad")
        await call.write(b"b")
        await call.done_writing()
        messages = await read(call)
        assert await call.code() is grpc.StatusCode.OK
    for name in "ab":
        own = [message.removeprefix(f"{name}:") for message in messages if message.startswith(f"{name}:")]
        assert "".join(own) == "hello world|"
    assert messages.count("bad?bad is bad.") == 1
    first_end = min(messages.index(each) for each in messages if each.endswith("|"))
    assert {message[0] for message in messages[:first_end]} >= {"a", "b"}


async def test_a_client_that_reads_nothing_is_given_up(tokenizer: Tokenizer) -> None:
    async with (
        open_site(tokenizer, send_timeout=0.5, max_model_len=4000, text="hello " * 400) as site,
        AsyncExitStack() as stack,
    ):
        # Without these the library takes in megabytes that nobody reads; each answer is more than it takes with them.
        options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 4096)]
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(site.address, options=options))
        call = channel.stream_stream("/fake.Service/Talk")()
        for number in range(5):
            await call.write(str(number).encode() * 900)
        beside = site.talk()
        await beside.write(b"a")
        await beside.done_writing()
        assert "".join(await read(beside)).endswith("|")
        await site.wait_for_records(6)
        outcomes = [record.outcome for record in site.keeper.records]
        assert (outcomes.count(Outcome.ANSWERED), outcomes.count(Outcome.CANCELLED)) == (1, 5)
        assert site.bench.engine.stats().num_running == 0
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await read_one_by_one(call)
        assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_one_report_for_each_message(tokenizer: Tokenizer) -> None:
    async with open_site(tokenizer) as site:
        call = site.channel.stream_stream("/fake.Service/Each")(iter([b"a", b"b"]))
        assert await read(call) == ["a1", "b1"]
        call = site.channel.stream_stream("/fake.Service/Each")(iter([b"a", b"bad", b"b"]))
        assert await call.read() == b"a1"
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await read_one_by_one(call)
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_changes_are_told_to_whoever_watches(tokenizer: Tokenizer) -> None:
    async with open_site(tokenizer) as site:
        call = site.channel.unary_stream("/fake.Service/Watch")(b"")
        assert await call.read() == b"ready"
        site.readiness.is_ready = False
        assert await asyncio.wait_for(call.read(), 10) == b"not ready"
        call.cancel()
        await site.wait_for_records(1)
        assert site.keeper.records[0].outcome is Outcome.CANCELLED


async def test_a_server_that_stops_does_not_wait_for_those_who_watch(tokenizer: Tokenizer) -> None:
    async with AsyncExitStack() as stack:
        async with open_site(tokenizer) as site:
            # A connection of its own, which is still there when the server stops.
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(site.address))
            call = channel.unary_stream("/fake.Service/Watch")(b"")
            assert await call.read() == b"ready"
            began = time.monotonic()
        assert time.monotonic() - began < 10
        assert await call.read() is grpc.aio.EOF


async def test_a_failing_engine_is_a_message(tokenizer: Tokenizer) -> None:
    async with open_site(tokenizer, fail_after=3) as site:
        call = site.talk()
        await call.write(b"a")
        await call.done_writing()
        assert (await read(call))[-1] == f"a!{EngineFailure.__name__}"
        assert site.keeper.records[-1].outcome is Outcome.FAILED


@pytest.mark.parametrize("body", [b"bad", b"bug"])
async def test_the_call_ends_with_an_error_if_the_client_likes(tokenizer: Tokenizer, body: bytes, caplog: Any) -> None:
    caplog.set_level(logging.CRITICAL)
    async with open_site(tokenizer, text="hello " * 50, token_delay=0.01) as site:
        call = site.talk(strict="yes")
        await call.write(b"a")
        await call.read()
        await call.write(body)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await read_one_by_one(call)
        assert failure.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)
        await site.wait_for_records(2)
        assert site.bench.engine.stats().num_running == 0


@pytest.mark.parametrize("method", ["Talk", "Write"])
async def test_a_client_that_cancels_frees_the_engine(tokenizer: Tokenizer, method: str) -> None:
    async with open_site(tokenizer, text="hello " * 50, token_delay=0.02) as site:
        if method == "Talk":
            call = site.talk()
            await call.write(b"a")
        else:
            call = site.call(method)(b"a")
        while not site.bench.engine.stats().num_running:
            await asyncio.sleep(0.01)
        call.cancel()
        await site.wait_for_records(1)
        assert site.keeper.records[0].outcome is Outcome.CANCELLED
        assert site.bench.engine.stats().num_running == 0


def make_certificate(folder: Path) -> Tls:
    """One that its owner has signed, so that it is its own authority."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return Tls(TlsFiles(certificate, key, certificate))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made with openssl")
async def test_encrypted_connections_with_certificates_of_clients(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tls = make_certificate(tmp_path)
    certificate, key = tls.contents.certificate, tls.contents.key
    async with AsyncExitStack() as stack:
        bench = Bench(tokenizer, stack)
        context = build_context(bench, await bench.start(), RecordKeeper())
        reserved = bind("127.0.0.1", 0)
        address = f"localhost:{reserved.getsockname()[1]}"
        await stack.enter_async_context(serve_procedures(context, [DIALECT], reserved, tls))
        known = grpc.ssl_channel_credentials(certificate, key, certificate)
        unknown = grpc.ssl_channel_credentials(certificate)
        async with grpc.aio.secure_channel(address, known) as channel:
            assert await channel.unary_unary("/fake.Service/Write")(b"hi") == b"hello world"
        for channel in (grpc.aio.secure_channel(address, unknown), grpc.aio.insecure_channel(address)):
            async with channel:
                with pytest.raises(grpc.aio.AioRpcError) as failure:
                    await channel.unary_unary("/fake.Service/Write")(b"hi")
                assert failure.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_taken_address(tokenizer: Tokenizer) -> None:
    async with AsyncExitStack() as stack:
        bench = Bench(tokenizer, stack)
        service = await bench.start()
        context = build_context(bench, service, RecordKeeper())
        reserved = bind("127.0.0.1", 0)
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(reserved.getsockname())
            taken.listen()
            with pytest.raises(AddressInUse, match="cannot listen"):
                async with serve_procedures(context, [DIALECT], reserved):
                    pass
