"""A dialect of one line, for testing the web layer without any real one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from portico.core.dialect import Claim, Describe, Generate, MetricAlias, RawRequest, Reply, Route
from portico.core.errors import InvalidParameter, Overloaded, PorticoError, RequestError
from portico.core.events import Delta, Event, Result
from portico.core.ledger import Ledger
from portico.core.model import ServerStatus
from portico.core.request import GenerationRequest
from tests.requests import make_request


@dataclass(frozen=True)
class FakeEncoder:
    media_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)

    keep_alive: bytes = b""

    def feed(self, events: Sequence[Event]) -> bytes:
        return "".join(event.text for event in events if isinstance(event, Delta)).encode()

    def close(self) -> bytes:
        return b"|end"

    def fail(self, error: PorticoError) -> bytes:
        return f"|{type(error).__name__}".encode()


@dataclass(frozen=True)
class FakeExchange:
    request: GenerationRequest

    def reply(self, result: Result) -> Reply:
        return Reply(200, result.choices[0].text.encode(), "text/plain")

    def encoder(self) -> FakeEncoder:
        return FakeEncoder()


def decode(raw: RawRequest) -> FakeExchange:
    """The body is the prompt; `stream:` before it asks for a stream, `bad` is refused, `bug` is our own mistake."""
    text = raw.body.decode()
    if text == "bad":
        raise InvalidParameter("text", "bad is bad.")
    if text == "bug":
        raise RuntimeError("a secret of ours")
    is_stream = text.startswith("stream:")
    request = make_request(text.removeprefix("stream:"), stopping={"max_tokens": 100}, stream=is_stream)
    return FakeExchange(request)


def describe(raw: RawRequest, status: ServerStatus) -> Reply:
    return Reply(200, f"{raw.path_params.get('name', '')} {raw.query} {status.is_ready}".encode(), "text/plain")


@dataclass(frozen=True)
class FakeDialect:
    name: str
    claims: str | None = None
    path: str = "/write"
    prefixes: tuple[str, ...] = ()
    title: str = "Fake"
    ledgers: tuple[Ledger, ...] = ()
    metric_aliases: tuple[MetricAlias, ...] = ()

    @property
    def routes(self) -> tuple[Route, ...]:
        claim = None
        if self.claims is not None:
            wanted = self.claims.encode()
            claim = Claim(lambda body: wanted in body, f"`{self.claims}`")
        return (
            Route("POST", self.path, Generate(decode), claim),
            Route("GET", f"/{self.name}/{{name:path}}", Describe(describe)),
            Route("GET", f"/{self.name}/{{name:path}}/deep", Describe(describe)),
        )

    def refuse(self, error: PorticoError) -> Reply:
        if isinstance(error, Overloaded):
            return Reply(429, str(error).encode(), "text/plain")
        return Reply(400 if isinstance(error, RequestError) else 500, f"{self.name}: {error}".encode(), "text/plain")
