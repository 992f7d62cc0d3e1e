"""What probes are told: 200 without a body, or why not.

Source: MindIE Service's EndPoint API, "Health"; the source code of MindIE-LLM 3.0, `CheckHealthAndStop`.
"""

from __future__ import annotations

from portico.core.dialect import RawRequest, Reply
from portico.core.model import ServerStatus
from portico.dialects import wire

_FINE = Reply(200, b"", "text/plain")


def describe_live(raw: RawRequest, status: ServerStatus) -> Reply:
    """Whether the service goes on: not once it is being stopped. An engine that has to start again is waited for."""
    return _stopped() if status.is_stopping else _FINE


def describe_ready(raw: RawRequest, status: ServerStatus) -> Reply:
    """Whether requests are taken."""
    if status.is_stopping:
        return _stopped()
    return _FINE if status.is_ready else Reply(500, wire.encode_json({"message": "Service is abnormal"}))


def describe_model_ready(raw: RawRequest, status: ServerStatus) -> Reply:
    """The same for one model.

    Raises:
        UnknownModel: no such model is served.
    """
    if status.is_stopping:
        return _stopped()
    status.served.require(raw.path_params["model"])
    return describe_ready(raw, status)


def _stopped() -> Reply:
    error = {"error": "The service has been stopped.", "error_type": "Service Unavailable"}
    return Reply(503, wire.encode_json(error))
