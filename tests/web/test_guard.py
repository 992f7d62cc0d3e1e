"""Who is let in where: the server's own table of routes, times every kind of key."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc
import grpc.aio
import httpx
import pytest
from starlette.routing import Route, Router

from portico.app import build_dialects, find_precedence
from portico.config import ServerConfig
from portico.core.dialect import Dialect
from portico.core.errors import Forbidden, Unauthorized
from portico.core.model import ServedModel, ServerStatus
from portico.core.observer import Outcome
from portico.core.rpc import RpcDialect
from portico.core.tenant import Tenant
from portico.dialects import triton
from portico.service.keyring import Keyring, digest
from portico.text.tokenizer import Tokenizer
from portico.web.application import build_application
from portico.web.endpoint import Context
from portico.web.grpc_server import serve_procedures
from portico.web.guard import Access, Guard
from portico.web.server import bind
from tests.service.conftest import Bench
from tests.web.test_endpoint import LIMITS, RecordKeeper, tokenizer

__all__ = ["tokenizer"]

KEYRING = Keyring(
    [
        (digest(b"sk-Operator"), Tenant("operator", "salt-o", is_operator=True)),
        (digest(b"sk-Alice"), Tenant("alice", "salt-a")),
    ]
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
# Whether the server lives and is ready, and nothing else.
OPEN = {
    *((method, path) for path in ("/", "/health", "/ping", "/v2/health/live", "/v2/health/ready")
      for method in ("GET", "HEAD")),
    ("POST", "/ping"),
}  # fmt: skip
# What stops the server, and what tells of everybody's requests together.
STATISTICS = ("/v2/models/stats", "/v2/models/model/stats", "/v2/models/model/versions/model/stats", "/metrics-json")
FOR_OPERATORS = {
    *((method, path) for path in ("/stopService", *STATISTICS) for method in ("GET", "HEAD")),
    *((method, "/metrics") for method in METHODS),
}
OPEN_PROCEDURES = {
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
}


class NoStopper:
    """A server that is not stopped."""

    async def stop(self, is_forced: bool) -> bool:
        return True


@dataclass
class Site:
    """An application with a guard."""

    router: Router
    context: Context
    keeper: RecordKeeper
    client: httpx.AsyncClient

    def paths(self) -> Iterator[str]:
        """Every path of the table, with values for its variable parts."""
        for route in self.router.routes:
            assert isinstance(route, Route)
            yield re.sub(r"{(\w+)(:path)?}", lambda match: "3" if match[1] == "seconds" else "model", route.path)


@asynccontextmanager
async def open_site(tokenizer: Tokenizer, profile: str = "default") -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        bench = Bench(tokenizer, stack)
        service = await bench.start()
        keeper = RecordKeeper()
        served = ServedModel(("model",), False, "/model")

        def get_status() -> ServerStatus:
            return ServerStatus("1", served, bench.engine.info, LIMITS, True, 0, bench.engine.stats(), 0)

        dialects: tuple[Dialect, ...] = build_dialects(ServerConfig(profile=profile))
        guard = Guard(KEYRING)
        context = Context(
            dialects, service, bench.converter, get_status, keeper, LIMITS, 10_000, stopper=NoStopper(), guard=guard
        )
        pages = {"/metrics": lambda: (b"figures", "text/plain")}
        router = build_application(context, find_precedence(profile), pages, for_operators=True)
        transport = httpx.ASGITransport(router)
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://x"))
        yield Site(router, context, keeper, client)


@pytest.mark.parametrize("profile", ["default", "mindie"])
async def test_only_health_is_answered_without_a_right_key(tokenizer: Tokenizer, profile: str) -> None:
    async with open_site(tokenizer, profile) as site:
        paths = [*site.paths(), "/nowhere", "/v1/nowhere", "/v2/nowhere", "/generate/x", "//v1/models", "/V1/models"]
        assert len(paths) > 60
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"x-api-key": "sk-alice"}):
            answers = {
                (method, path): await site.client.request(method, path, headers=headers)
                for path in paths
                for method in METHODS
            }
            assert {each for each, answer in answers.items() if answer.status_code != 401} == OPEN
            for (method, _), answer in answers.items():
                assert answer.status_code in (200, 401)
                if answer.status_code == 401:
                    assert answer.headers["www-authenticate"] == "Bearer"
                    assert method == "HEAD" or b"key" in answer.content


@pytest.mark.parametrize("profile", ["default", "mindie"])
async def test_right_keys_are_let_in_everywhere(tokenizer: Tokenizer, profile: str) -> None:
    async with open_site(tokenizer, profile) as site:
        for key, forbidden in (("sk-Operator", set()), ("sk-Alice", FOR_OPERATORS)):
            refused = set()
            for path in site.paths():
                for method in METHODS:
                    answer = await site.client.request(method, path, headers={"Authorization": f"Bearer {key}"})
                    assert answer.status_code not in (401, 500), (method, path)
                    if answer.status_code == 403:
                        refused.add((method, path))
            assert refused == forbidden


async def test_records_have_the_name_and_refusals_are_seen(tokenizer: Tokenizer) -> None:
    async with open_site(tokenizer) as site:
        body = {"model": "model", "prompt": "hi", "max_tokens": 3}
        await site.client.post("/v1/completions", json=body, headers={"x-api-key": "sk-Alice"})
        await site.client.post("/v1/completions", json=body)
        await site.client.get("/nowhere", headers={"x-api-key": "sk-Alice"})
        answered, refused, unknown = site.keeper.records
    assert (answered.tenant, answered.outcome, answered.num_output_tokens) == ("alice", Outcome.ANSWERED, 3)
    assert (refused.tenant, refused.outcome, refused.error_kind) == ("", Outcome.REFUSED, "Unauthorized")
    assert (unknown.tenant, unknown.error_kind) == ("alice", "UnknownRoute")


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer sk-Alice")],
        [(b"authorization", b"bearer sk-Alice")],
        [(b"authorization", b"BEARER sk-Alice")],
        [(b"x-api-key", b"sk-Alice")],
        [(b"authorization", b"Bearer sk-Alice"), (b"x-api-key", b"sk-Alice")],
        [(b"x-forwarded-for", b"1.2.3.4"), (b"authorization", b"Bearer sk-Alice"), (b"host", b"x/health?")],
    ],
)
def test_right_keys(headers: list[tuple[bytes, bytes]]) -> None:
    assert Guard(KEYRING).admit(headers, Access.KEY).name == "alice"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"sk-Alice")],
        [(b"authorization", b"Bearer sk-alice")],
        [(b"authorization", b"Bearer SK-ALICE")],
        [(b"authorization", b"Bearer  sk-Alice")],
        [(b"authorization", b"Bearer\tsk-Alice")],
        [(b"authorization", b"Bearer sk-Alice ")],
        [(b"authorization", b"Bearer sk-Alice,")],
        [(b"authorization", b"Bearer sk-Alice, Bearer sk-Alice")],
        [(b"authorization", b"Bearer sk-Alic")],
        [(b"authorization", b"Bearer sk-Alicee")],
        [(b"authorization", b'Bearer "sk-Alice"')],
        [(b"authorization", b"Basic sk-Alice")],
        [(b"authorization", b"Basic YWxpY2U6c2stQWxpY2U=")],
        [(b"authorization", b"Token sk-Alice")],
        [(b"authorization", b"Bearer \xc3\xa9\xff")],
        [(b"authorization", b"B\xe9arer sk-Alice")],
        [(b"authorization", b"Bearer sk-Alice\x00")],
        [(b"authorization", b"Bearer ' OR 1=1--")],
        [(b"authorization", b"Bearer *")],
        [(b"authorization", b"Bearer null")],
        [(b"authorization", b"Bearer " + b"x" * 1_000_000)],
        [(b"authorization", b"Bearer " + digest(b"sk-Alice"))],
        [(b"authorization", b"Bearer " + digest(b"sk-Alice").hex().encode())],
        [(b"authorization", b"Bearer sk-Alice"), (b"authorization", b"Bearer sk-Alice")],
        [(b"authorization", b"Bearer wrong"), (b"authorization", b"Bearer sk-Alice")],
        [(b"authorization", b"Bearer sk-Alice"), (b"x-api-key", b"sk-Operator")],
        [(b"authorization", b"Bearer wrong"), (b"x-api-key", b"sk-Alice")],
        [(b"x-api-key", b"sk-Alice"), (b"x-api-key", b"sk-Alice")],
        [(b"x-api-key", b"")],
        [(b"x-api-key", b"Bearer sk-Alice")],
        [(b"proxy-authorization", b"Bearer sk-Alice")],
        [(b"cookie", b"authorization=Bearer sk-Alice")],
    ],
)
def test_wrong_keys(headers: list[tuple[bytes, bytes]]) -> None:
    for access in (Access.KEY, Access.OPERATOR):
        with pytest.raises(Unauthorized):
            Guard(KEYRING).admit(headers, access)
    assert Guard(KEYRING).admit(headers, Access.OPEN).name == ""


def test_operators() -> None:
    headers = [(b"x-api-key", b"sk-Alice")]
    with pytest.raises(Forbidden, match="`alice` is not an operator's"):
        Guard(KEYRING).admit(headers, Access.OPERATOR)
    assert Guard(KEYRING).admit([(b"x-api-key", b"sk-Operator")], Access.OPERATOR).name == "operator"
    assert Guard().admit([], Access.OPERATOR).is_operator


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LocalHost:1025", "127.0.0.1", "127.8.9.1:80", "[::1]:1025", "[::1]", "model.localhost",
        "workstation:1", "", "api.example", "API.Example:443",
    ],
)  # fmt: skip
def test_names_of_this_machine(host: str) -> None:
    Guard(hosts=("Api.Example",)).admit([(b"host", host.encode())], Access.OPEN)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:1025", "localhost.evil.example", "127.0.0.1.evil.example", "xlocalhost.evil",
        "0.0.0.0", "169.254.169.254", "[::]:1025", "[::ffff:10.0.0.1]", "api.example.evil", "evil.example:api.example",
        "\xe9vil.example",
    ],
)  # fmt: skip
def test_names_of_others(host: str) -> None:
    for access in Access:
        with pytest.raises(Forbidden, match="--allowed-host"):
            Guard(hosts=("api.example",)).admit([(b"host", host.encode("latin-1"))], access)
    Guard().admit([(b"host", host.encode("latin-1"))], Access.OPERATOR)


async def test_keys_in_the_query_count_for_nothing(tokenizer: Tokenizer) -> None:
    async with open_site(tokenizer) as site:
        for query in ("api_key", "api-key", "key", "access_token", "authorization"):
            assert (await site.client.get(f"/v1/models?{query}=sk-Alice")).status_code == 401


async def call(channel: grpc.aio.Channel, path: str, **metadata: str) -> grpc.StatusCode:
    """The status of a call with an empty message."""
    pending = channel.stream_stream(path)(iter([b""]), metadata=tuple(metadata.items()))
    try:
        async for _ in pending:
            # Some go on for ever.
            pending.cancel()
            return grpc.StatusCode.OK
    except grpc.aio.AioRpcError as error:
        return error.code()
    code: grpc.StatusCode = await pending.code()
    return code


async def test_procedures_are_guarded_alike(tokenizer: Tokenizer) -> None:
    dialect: RpcDialect = triton.rpc_dialect(triton.DEFAULT)
    paths = [f"/{each.service}/{each.method}" for each in dialect.procedures]
    assert len(paths) > 15
    unknown = ["/inference.GRPCInferenceService/Nothing", "/nowhere.Service/Nothing"]
    async with open_site(tokenizer) as site, AsyncExitStack() as stack:
        reserved = bind("127.0.0.1", 0)
        port = reserved.getsockname()[1]
        await stack.enter_async_context(serve_procedures(site.context, [dialect], reserved))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        for metadata in ({}, {"authorization": "Bearer wrong"}, {"authorization": "sk-Alice"}):
            codes = {path: await call(channel, path, **metadata) for path in (*paths, *unknown)}
            refused = {path for path, code in codes.items() if code is grpc.StatusCode.UNAUTHENTICATED}
            assert set(codes) - refused == OPEN_PROCEDURES
        assert {record.error_kind for record in site.keeper.records if record.outcome is Outcome.REFUSED} == {
            "Unauthorized"
        }
        for metadata in ({"authorization": "Bearer sk-Alice"}, {"x-api-key": "sk-Alice"}):
            for path in paths:
                assert await call(channel, path, **metadata) is not grpc.StatusCode.UNAUTHENTICATED
            for path in unknown:
                assert await call(channel, path, **metadata) is grpc.StatusCode.UNIMPLEMENTED
