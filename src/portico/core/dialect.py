"""The port to dialects: pure, synchronous translation between one wire and the canonical types.

A dialect does no I/O, starts no work and logs nothing. Its routes say which operation each path is; everything else
about HTTP is the web layer's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from portico.core.errors import PorticoError
from portico.core.events import Event, Result
from portico.core.form import Form
from portico.core.ledger import Ledger
from portico.core.model import ServerLimits, ServerStatus
from portico.core.request import DetokenizeRequest, GenerationRequest, TokenizeRequest
from portico.core.tokens import Tokenized


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A request as it came.

    `headers` have lower-case names; `path_params` are the decoded variable parts of the route's path; `received_at` is
    Unix time in seconds; `limits` are the operator's.
    """

    request_id: str
    method: str
    path: str
    path_params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    received_at: float
    limits: ServerLimits


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete HTTP answer."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class StreamEncoder(Protocol):
    """Turns the events of one request into the bytes of its streamed answer.

    The bytes joined together are the body. An event that the dialect has nothing to say about gives no bytes.
    """

    @property
    def media_type(self) -> str:
        """The content type of the answer."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Further headers of the answer."""

    @property
    def keep_alive(self) -> bytes:
        """What is written while nothing else is for a long time; empty where the wire has no such thing."""

    def feed(self, events: Sequence[Event]) -> bytes:
        """The frames of what happened at the same time, possibly none.

        The end of a choice comes together with its last tokens, so nothing needs to be held back for it.
        """

    def close(self) -> bytes:
        """What follows the last event of a stream that ended well."""

    def fail(self, error: PorticoError) -> bytes:
        """What follows when the stream broke off; nothing comes after it."""


class Exchange(Protocol):
    """One decoded request together with the way its answer is written."""

    @property
    def request(self) -> GenerationRequest:
        """What to generate."""

    def reply(self, result: Result) -> Reply:
        """The answer to a request that is not streamed."""

    def encoder(self) -> StreamEncoder:
        """A new encoder for a streamed answer."""


class TokenizeExchange(Protocol):
    """One decoded request for the tokens of a prompt."""

    @property
    def request(self) -> TokenizeRequest:
        """What to tokenise."""

    def reply(self, tokenized: Tokenized) -> Reply:
        """The answer."""


class DetokenizeExchange(Protocol):
    """One decoded request for the text of token ids."""

    @property
    def request(self) -> DetokenizeRequest:
        """What to write out."""

    def reply(self, text: str) -> Reply:
        """The answer."""


@dataclass(frozen=True, slots=True)
class Generate:
    """A route that generates. `decode` raises `RequestError` for what it refuses."""

    decode: Callable[[RawRequest], Exchange]


@dataclass(frozen=True, slots=True)
class Describe:
    """A route that reports on the server.

    Attributes:
        describe: writes the report; raises `RequestError` for what it refuses.
        adds_up_tenants: it tells of all tenants' requests together, from which one could find out what another does:
            where there are keys, only those of operators may read it.
    """

    describe: Callable[[RawRequest, ServerStatus], Reply]
    adds_up_tenants: bool = False


@dataclass(frozen=True, slots=True)
class Tokenize:
    """A route that shows a prompt as tokens. `decode` raises `RequestError` for what it refuses."""

    decode: Callable[[RawRequest], TokenizeExchange]


@dataclass(frozen=True, slots=True)
class Detokenize:
    """A route that shows token ids as text. `decode` raises `RequestError` for what it refuses."""

    decode: Callable[[RawRequest], DetokenizeExchange]


class StopExchange(Protocol):
    """One decoded request to stop another one, by the name that its client gave it."""

    @property
    def client_id(self) -> str:
        """The name."""

    def reply(self, was_running: bool) -> Reply:
        """The answer."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A route that stops requests. `decode` raises `RequestError` for what it refuses."""

    decode: Callable[[RawRequest], StopExchange]


class ShutdownExchange(Protocol):
    """One decoded request to stop the server."""

    @property
    def is_forced(self) -> bool:
        """Whether running requests are broken off instead of waited for."""

    def reply(self, is_first: bool) -> Reply:
        """The answer, once nothing runs any more; not the first one finds the server stopping already."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """A route that stops the server. `decode` raises `RequestError` for what it refuses."""

    decode: Callable[[RawRequest], ShutdownExchange]


Operation = Generate | Tokenize | Detokenize | Describe | Stop | Shutdown


@dataclass(frozen=True, slots=True)
class Claim:
    """How a dialect recognises its requests on a path that it shares with others.

    `accepts` looks at the body and never raises; `hint` names what it looks for, for the refusal when no dialect's
    claim fits.
    """

    accepts: Callable[[bytes], bool]
    hint: str


@dataclass(frozen=True, slots=True)
class Route:
    """One path of a dialect; `{name}` in `path` is one segment, `{name:path}` may hold slashes.

    Attributes:
        method: GET or POST.
        path: the pattern.
        operation: what is done.
        claim: how its requests are recognised, where other dialects have the same path.
        refuse: how this path tells errors, where it is not the dialect's way; the request is complete by then.
        is_for_operators: it is served only where the operator listens for management, and only to keys of operators.
        needs_json_type: bodies must say that they are JSON, as the servers of this wire demand.
        is_open: it needs no key, for it tells whether the server lives and nothing else.
        form: what it reads and answers, for documents.
    """

    method: str
    path: str
    operation: Operation
    claim: Claim | None = None
    refuse: Callable[[RawRequest, PorticoError], Reply] | None = None
    is_for_operators: bool = False
    needs_json_type: bool = False
    is_open: bool = False
    form: Form = field(default_factory=Form)


@dataclass(frozen=True, slots=True)
class MetricAlias:
    """One of the server's metrics under the name that the dashboards of a wire read.

    Attributes:
        source: the server's own name, without its prefix and without what the format appends (`prompt_tokens`).
        name: the name on this wire.
        labels: this wire's labels by the server's own ones; values that differ in other labels are added up.
        words: this wire's words by the server's own ones, where they are values of labels.
        is_bare: a counter has the name as it is, without the `_total` that the format asks for.
        constants: labels that are always the same.
    """

    source: str
    name: str
    labels: Mapping[str, str]
    words: Mapping[str, str] = field(default_factory=dict)
    is_bare: bool = False
    constants: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StatusMetric:
    """A metric of one wire that is computed when it is read, under exactly this name.

    Attributes:
        name: the whole name of the sample.
        documentation: a sentence about it.
        labels: of the sample.
        value: what it is at the moment.
        is_gauge: it goes up and down; else it only grows.
    """

    name: str
    documentation: str
    labels: Callable[[ServerStatus], Mapping[str, str]]
    value: Callable[[ServerStatus], float]
    is_gauge: bool = False


class Dialect(Protocol):
    """One wire."""

    @property
    def name(self) -> str:
        """Short and lower-case, as in logs and metrics."""

    @property
    def title(self) -> str:
        """For people."""

    @property
    def routes(self) -> tuple[Route, ...]:
        """Every path it serves."""

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Unknown paths below these are refused in this dialect's shape."""

    @property
    def ledgers(self) -> tuple[Ledger, ...]:
        """What it does with every documented field, one ledger per kind of request."""

    @property
    def metric_aliases(self) -> tuple[MetricAlias, ...]:
        """Names of its own for the server's metrics."""

    def refuse(self, error: PorticoError) -> Reply:
        """An error in this dialect's shape and with its status."""
