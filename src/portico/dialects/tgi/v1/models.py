"""What is said of the models."""

from __future__ import annotations

from portico.core.dialect import RawRequest, Reply
from portico.core.model import ServerStatus
from portico.dialects import wire


def list_models(raw: RawRequest, status: ServerStatus) -> Reply:
    """`GET /v1/models`: every name of the model."""
    data = [{"id": name, "object": "model", "created": 0, "owned_by": name} for name in status.served.names]
    return Reply(200, wire.encode_json({"object": "list", "data": data}))
