"""The HTTP path, on a listening server with the scripted engine behind it."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from portico.core.dialect import RawRequest
from portico.core.model import ServedModel, ServerLimits, ServerStatus
from portico.core.observer import Outcome, RequestRecord
from portico.text.tokenizer import Tokenizer
from portico.web.application import build_application
from portico.web.endpoint import Context
from portico.web.intake import ConnectionLimits
from portico.web.server import bind, serving
from tests.byte_tokenizer import build_byte_tokenizer
from tests.service.conftest import Bench
from tests.web.fake_dialect import FakeDialect

LIMITS = ServerLimits(max_num_seqs=4, max_waiting=4, max_choices=4, max_logprobs=4, max_stop=4)


@dataclass
class RecordKeeper:
    """An observer that keeps what it is told."""

    records: list[RequestRecord] = field(default_factory=list)

    def on_step(self, record: RequestRecord, num_tokens: int, interval: float | None) -> None:
        pass

    def on_end(self, record: RequestRecord) -> None:
        self.records.append(record)


@dataclass
class Site:
    """A listening server; `bench.engine` is its engine."""

    client: httpx.AsyncClient
    keeper: RecordKeeper
    bench: Bench
    port: int

    async def record(self) -> RequestRecord:
        """The last record, once it has come."""
        for _ in range(200):
            if self.keeper.records:
                return self.keeper.records[-1]
            await asyncio.sleep(0.01)
        raise AssertionError("no record was ended")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return build_byte_tokenizer(tmp_path_factory.mktemp("checkpoint"))


@asynccontextmanager
async def open_site(tokenizer: Tokenizer, send_timeout: float | None = None, **config: Any) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        bench = Bench(tokenizer, stack)
        service = await bench.start(**config)
        keeper = RecordKeeper()
        served = ServedModel(("model",), False, "/model")

        def get_status() -> ServerStatus:
            return ServerStatus("1", served, bench.engine.info, LIMITS, True, 0, bench.engine.stats(), 0)

        dialects = (FakeDialect("first", prefixes=("/first",)), FakeDialect("second", path="/other"))
        context = Context(dialects, service, bench.converter, get_status, keeper, LIMITS, max_body_bytes=1000)
        application = build_application(context, {}, {"/page": lambda: (b"page", "text/html")})
        listener = bind("127.0.0.1", 0)
        port = listener.getsockname()[1]
        await stack.enter_async_context(serving(application, listener, None, ConnectionLimits(send_timeout)))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}"))
        while not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            await asyncio.sleep(0.01)
        yield Site(client, keeper, bench, port)


async def test_whole_and_streamed_answers(tokenizer: Tokenizer) -> None:
    async with open_site(tokenizer) as site:
        whole = await site.client.post("/write", content="hi")
        assert (whole.status_code, whole.text) == (200, "hello world")
        streamed = await site.client.post("/write", content="stream:hi")
        assert (streamed.status_code, streamed.text) == (200, "hello world|end")
        assert streamed.headers["cache-control"] == "no-cache"
        while len(site.keeper.records) < 2:
            await asyncio.sleep(0.01)
        first, second = site.keeper.records
        assert whole.headers["x-request-id"] == first.request_id != second.request_id
        assert (first.outcome, first.status, first.num_output_tokens) == (Outcome.ANSWERED, 200, 12)
        assert (first.dialect, first.route, second.is_streamed) == ("first", "/write", True)


async def test_errors_have_the_dialects_shape_and_hide_ours(tokenizer: Tokenizer, caplog: Any) -> None:
    caplog.set_level(logging.CRITICAL)
    async with open_site(tokenizer) as site:
        assert (await site.client.post("/write", content="bad")).text == "first: bad is bad."
        bug = await site.client.post("/write", content="bug")
        assert (bug.status_code, bug.text) == (500, "first: The server failed on this request.")
        assert (await site.client.post("/other", content="x" * 2000)).text.startswith(
            "second: The request body is larger"
        )
        assert "use POST" in (await site.client.put("/write", content="x")).text
        assert (await site.client.get("/first/a")).text == "a {} True"
        assert (await site.client.get("/nothing")).text == "first: There is no GET /nothing on this server."
        assert (await site.client.post("/write", content="fine")).status_code == 200


async def test_a_failing_engine_ends_a_stream_with_an_error(tokenizer: Tokenizer) -> None:
    async with open_site(tokenizer, fail_after=3) as site:
        streamed = await site.client.post("/write", content="stream:hi")
        assert (streamed.status_code, streamed.text) == (200, "hel|EngineFailure")
        assert (await site.client.post("/write", content="hi")).status_code == 500
        assert [record.outcome for record in site.keeper.records] == [Outcome.FAILED] * 2


@pytest.mark.parametrize("body", ["stream:hi", "hi"])
async def test_a_client_that_leaves_frees_the_engine(tokenizer: Tokenizer, body: str) -> None:
    async with open_site(tokenizer, text="hello " * 50, token_delay=0.02) as site:
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(f"POST /write HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await asyncio.sleep(0.2)
        assert site.bench.engine.stats().num_running == 1
        writer.close()
        record = await site.record()
        assert record.outcome is Outcome.CANCELLED
        assert site.bench.engine.stats().num_running == 0


async def test_a_lying_content_length_is_refused(tokenizer: Tokenizer) -> None:
    async with open_site(tokenizer) as site:

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(50):
                yield b"x" * 100

        assert "larger than the limit of 1000 bytes" in (await site.client.post("/write", content=chunks())).text


async def test_longer_greedy_paths_win(tokenizer: Tokenizer) -> None:
    async with open_site(tokenizer) as site:
        assert (await site.client.get("/first/a/b/deep?x=1")).text == "a/b {'x': '1'} True"
        assert (await site.client.get("/first/a/b")).text == "a/b {} True"
        head = await site.client.head("/first/a")
        assert (head.status_code, head.content) == (200, b"")
        assert (await site.client.get("/page")).text == "page"


@pytest.mark.parametrize("content", ["bad", "stream:hi", "hi", "fail"])
async def test_a_request_that_is_over_needs_no_collector(tokenizer: Tokenizer, content: str) -> None:
    """What a body was made into would stay until the collector comes, which is after hundreds of bodies."""

    def requests() -> list[object]:
        return [each for each in gc.get_objects() if type(each) in (RawRequest, RequestResponseCycle)]

    async with open_site(tokenizer, fail_after=3 if content == "fail" else None) as site:
        # Kept, so that no new one can be taken for one of them.
        before = requests()
        known = set(map(id, before))
        gc.disable()
        try:
            for _ in range(5):
                await site.client.post("/write", content=content, headers={"connection": "close"})
            for _ in range(100):
                left = sum(id(each) not in known for each in requests())
                if not left:
                    break
                await asyncio.sleep(0.05)
        finally:
            gc.enable()
    assert left == 0
