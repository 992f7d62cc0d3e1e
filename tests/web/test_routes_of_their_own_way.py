"""Routes that differ from their dialect: errors told in another way, streams that are kept alive, operators' routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from portico.core.dialect import Dialect, Generate, RawRequest, Reply, Route, Shutdown, Stop
from portico.core.errors import PorticoError
from portico.core.model import EngineStats, ModelInfo, ServedModel, ServerLimits, ServerStatus
from portico.core.observer import Observers
from portico.text.tokenizer import Tokenizer
from portico.web.application import build_application
from portico.web.endpoint import Context
from portico.web.sender import Sender
from portico.web.shutdown import DrainingStopper
from tests.byte_tokenizer import build_byte_tokenizer
from tests.service.conftest import Bench
from tests.web.fake_dialect import FakeDialect, decode

LIMITS = ServerLimits(max_num_seqs=4, max_waiting=4, max_choices=4, max_logprobs=4, max_stop=4)


@dataclass(frozen=True)
class Named:
    """A request to stop another one, and one to stop the server."""

    client_id: str = "mine"
    is_forced: bool = False

    def reply(self, succeeds: bool) -> Reply:
        return Reply(200, str(succeeds).encode(), "text/plain")


@dataclass
class FakeStopper:
    forced: list[bool] = field(default_factory=list)

    async def stop(self, is_forced: bool) -> bool:
        self.forced.append(is_forced)
        return len(self.forced) == 1


def _refuse(raw: RawRequest, error: PorticoError) -> Reply:
    return Reply(200, f"{raw.body.decode()}: {error}".encode(), "text/plain")


@dataclass(frozen=True)
class OwnWays(FakeDialect):
    @property
    def routes(self) -> tuple[Route, ...]:
        return (
            Route("POST", "/lenient", Generate(decode), refuse=_refuse),
            Route("POST", "/stop", Stop(lambda raw: Named())),
            Route("GET", "/down", Shutdown(lambda raw: Named()), is_for_operators=True),
        )


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return build_byte_tokenizer(tmp_path_factory.mktemp("checkpoint"))


@asynccontextmanager
async def open_client(bench: Bench, *, for_operators: bool) -> AsyncIterator[httpx.AsyncClient]:
    service = await bench.start()
    dialects: tuple[Dialect, ...] = (OwnWays("own"),)
    info = ModelInfo("Fake", "none", "cpu", 10, 10, (), 0)
    status = ServerStatus("1", ServedModel(("m",), False, ""), info, LIMITS, True, 0, EngineStats(0, 0, 0, 0, 0), 0)
    context = Context(
        dialects,
        service,
        bench.converter,
        lambda: status,
        Observers(),
        LIMITS,
        max_body_bytes=99,
        stopper=FakeStopper(),
    )
    application: Any = build_application(context, {}, {}, for_operators=for_operators)
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_a_route_tells_errors_in_its_own_way(bench: Bench) -> None:
    async with open_client(bench, for_operators=False) as client:
        refused = await client.post("/lenient", content="bad")
        assert (refused.status_code, refused.text) == (200, "bad: bad is bad.")
        # What is wrong with the path is the dialect's to say.
        assert (await client.put("/lenient", content="bad")).status_code == 400
        assert (await client.post("/stop")).text == "False"


async def test_operators_routes_are_served_where_operators_listen(bench: Bench) -> None:
    async with open_client(bench, for_operators=False) as client:
        assert "There is no GET /down" in (await client.get("/down")).text
    async with open_client(bench, for_operators=True) as client:
        assert (await client.head("/down")).status_code == 400
        assert (await client.get("/down")).text == "True"
        assert (await client.get("/down")).text == "False"


async def test_a_silent_stream_is_kept_alive() -> None:
    sent: list[bytes] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message.get("body", b""))

    sender = Sender({"type": "http", "method": "POST"}, send, {})
    task = asyncio.ensure_future(sender.keep_alive(b":", 0.05))
    await asyncio.sleep(0.12)
    assert sent == []
    await sender.start_stream("text/plain", {})
    for _ in range(5):
        await sender.write(b"x")
        await asyncio.sleep(0.02)
    assert sent == [b"", *[b"x"] * 5]
    await asyncio.sleep(0.14)
    task.cancel()
    assert sent[6:] in ([b":"] * 2, [b":"] * 3)


async def test_stopping_waits_for_what_runs_and_happens_once(monkeypatch: pytest.MonkeyPatch) -> None:
    signals: list[int] = []
    monkeypatch.setattr("portico.web.shutdown.os.kill", lambda pid, number: signals.append(number))
    running, closed = [1], []
    stopper = DrainingStopper(lambda: closed.append(True), lambda: len(running))
    first = asyncio.ensure_future(stopper.stop(False))
    await asyncio.sleep(0.1)
    assert (first.done(), closed, signals) == (False, [True], [])
    assert await stopper.stop(False) is False
    first.cancel()
    running.clear()
    await asyncio.sleep(0.25)
    assert len(signals) == 1


async def test_forced_stopping_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    signals: list[int] = []
    monkeypatch.setattr("portico.web.shutdown.os.kill", lambda pid, number: signals.append(number))
    stopper = DrainingStopper(lambda: None, lambda: 1)
    assert await asyncio.wait_for(stopper.stop(True), 1) is True
    await asyncio.sleep(0.25)
    assert len(signals) == 2


@pytest.fixture
async def bench(tokenizer: Tokenizer) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        yield Bench(tokenizer, stack)
