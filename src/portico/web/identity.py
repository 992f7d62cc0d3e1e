"""What a request is called: by its client, by us, and within a trace of several services.

Source: W3C Trace Context, "Traceparent Header".
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

# Visible ASCII; anything else in a header of ours or in a log could be taken for something that it is not.
_NAME = re.compile(rb"[\x21-\x7e]{1,128}\Z")
_TRACEPARENT = re.compile(
    rb"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """The names of one request.

    Attributes:
        request_id: ours, of which there are no two.
        name: what answers and logs call it: the client's own `X-Request-Id`, else ours.
        trace_id: of the trace that it belongs to; empty without one.
        trace_flags: of that trace.
    """

    request_id: str
    name: str
    trace_id: str = ""
    trace_flags: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What every answer says of it; in a trace, this server's part is named by our own id."""
        found = {"x-request-id": self.name}
        if self.trace_id:
            found["traceparent"] = f"00-{self.trace_id}-{self.request_id[:16]}-{self.trace_flags}"
        return found


def identify(headers: Iterable[tuple[bytes, bytes]], request_id: str | None = None) -> Identity:
    """Names a request by its headers, whose names are in lower case. What is not as it should be is passed over.

    `request_id` is ours, where it has one already.
    """
    request_id = request_id or uuid.uuid4().hex
    name, trace_id, trace_flags = request_id, "", ""
    for header, value in headers:
        if header == b"x-request-id" and _NAME.match(value):
            name = value.decode("ascii")
        elif header == b"traceparent" and (found := _read_trace(value)):
            trace_id, trace_flags = found
    return Identity(request_id, name, trace_id, trace_flags)


def _read_trace(value: bytes) -> tuple[str, str] | None:
    """The id and the flags of a trace; later versions may say more behind what is known."""
    found = _TRACEPARENT.match(value)
    if found is None or found["version"] == b"ff" or not int(found["trace"], 16) or not int(found["parent"], 16):
        return None
    rest = value[found.end() :]
    if rest and (found["version"] == b"00" or not rest.startswith(b"-")):
        return None
    return found["trace"].decode(), found["flags"].decode()
