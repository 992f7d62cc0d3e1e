"""The port to dialects that are also spoken as remote procedures: messages are bytes, as bodies are.

A procedure is a route whose path names a service and a method; its raw requests carry one message as their body, and
its replies another. What the bytes mean is the dialect's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from portico.core.dialect import Describe, Generate, RawRequest, Reply
from portico.core.errors import PorticoError
from portico.core.events import Event
from portico.core.model import ServerStatus
from portico.core.request import GenerationRequest


class MessageEncoder(Protocol):
    """Turns the events of one request into the messages of its answer."""

    def feed(self, events: Sequence[Event]) -> Sequence[bytes]:
        """The messages for what happened at the same time, possibly none."""

    def fail(self, error: PorticoError) -> Sequence[bytes]:
        """What follows when the answer broke off; no other message of this request comes after it."""


class MessageExchange(Protocol):
    """One message that asks, and the way it is answered."""

    @property
    def request(self) -> GenerationRequest:
        """What to generate."""

    def encoder(self) -> MessageEncoder:
        """A new encoder for the answer."""


@dataclass(frozen=True, slots=True)
class Converse:
    """A procedure with streams both ways: every message that comes is a request, and answers may interleave.

    Attributes:
        decode: reads one message; raises `RequestError` for what it refuses.
        refuse: the message that tells a client of an error where the stream goes on.
        ends_on_error: whether a client wants the stream to end with the first error instead; the request has no body.
    """

    decode: Callable[[RawRequest], MessageExchange]
    refuse: Callable[[RawRequest, PorticoError], bytes]
    ends_on_error: Callable[[RawRequest], bool]


@dataclass(frozen=True, slots=True)
class DescribeEach:
    """A procedure with streams both ways that reports on the server: one message for each that comes.

    `describe` raises `RequestError` for what ends the call.
    """

    describe: Callable[[RawRequest, ServerStatus], Reply]


@dataclass(frozen=True, slots=True)
class Watch:
    """A procedure that reports on the server at once, and again whenever there is something else to report."""

    describe: Callable[[RawRequest, ServerStatus], Reply]


@dataclass(frozen=True, slots=True)
class Procedure:
    """One remote procedure, by the names of its service and of itself; `is_open` as a route's."""

    service: str
    method: str
    operation: Generate | Describe | Converse | DescribeEach | Watch
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class RpcRefusal:
    """An error as remote procedures have it: the name of its status (`NOT_FOUND`), and HTTP's status for logs."""

    status: str
    message: str
    http_status: int


@dataclass(frozen=True, slots=True)
class RpcDialect:
    """What one dialect serves as remote procedures; `name` is the dialect's."""

    name: str
    procedures: tuple[Procedure, ...]
    refuse: Callable[[PorticoError], RpcRefusal]
