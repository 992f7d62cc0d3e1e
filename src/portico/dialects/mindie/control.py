"""Stopping a request by its id, and stopping the server.

Source: MindIE Service's EndPoint API, "stopInfer" and "stopService".
"""

from __future__ import annotations

from dataclasses import dataclass

from portico.core.dialect import RawRequest, Reply
from portico.core.errors import InvalidParameter
from portico.dialects import wire
from portico.dialects.mindie import ledgers
from portico.dialects.mindie.schema import StopFields


@dataclass(frozen=True, slots=True)
class StopExchange:
    """A request to stop the inference that was sent with an id; the answer repeats the body."""

    client_id: str
    body: bytes

    def reply(self, was_running: bool) -> Reply:
        """The body again, or 404 where there is no such request."""
        if was_running:
            return Reply(200, self.body)
        error = {"error": f"RequestId is {self.client_id} not found.", "error_type": "NotFoundError"}
        return Reply(404, wire.encode_json(error))


@dataclass(frozen=True, slots=True)
class ShutdownExchange:
    """A request to stop the server."""

    is_forced: bool

    def reply(self, is_first: bool) -> Reply:
        """200 when nothing runs any more; 500 for whoever comes later. Both have no body."""
        return Reply(200 if is_first else 500, b"", "text/plain")


def decode_stop(raw: RawRequest) -> StopExchange:
    """Reads `POST /v2/models/{model}/stopInfer`. Ids are looked up over all models, since one is served.

    Raises:
        RequestError: the body is no such request.
    """
    fields = wire.decode_object(raw.body)
    ledgers.STOP.check(fields)
    client_id = wire.convert(fields, StopFields).id
    if not client_id:
        raise InvalidParameter("id", "`id` cannot be empty.")
    return StopExchange(client_id, raw.body)


def decode_shutdown(raw: RawRequest) -> ShutdownExchange:
    """Reads `GET /stopService`; `?mode=Force` does not wait for running requests.

    Raises:
        InvalidParameter: another mode.
    """
    mode = raw.query.get("mode", "")
    if mode not in ("", "Force"):
        raise InvalidParameter("mode", f"The only `mode` is Force, got {mode!r}.")
    return ShutdownExchange(is_forced=mode == "Force")
