"""Answers about the server.

Source: vLLM's API server, `/health`, `/ping`, `/load`, `/version` and `/tokenizer_info`.
"""

from __future__ import annotations

from collections.abc import Mapping

from portico.core.dialect import RawRequest, Reply
from portico.core.model import ServerStatus
from portico.dialects import wire


def health(raw: RawRequest, status: ServerStatus) -> Reply:
    """200 when requests are taken and 503 when not, without a body."""
    return Reply(200 if status.is_ready else 503, b"", media_type="text/plain")


def load(raw: RawRequest, status: ServerStatus) -> Reply:
    """How many requests are being answered."""
    return Reply(200, wire.encode_json({"server_load": status.num_requests}))


def version(raw: RawRequest, status: ServerStatus) -> Reply:
    """This server's version."""
    return Reply(200, wire.encode_json({"version": status.version}))


def tokenizer_info(info: Mapping[str, str], raw: RawRequest, status: ServerStatus) -> Reply:
    """What a client needs to know that tokenises by way of this server."""
    return Reply(200, wire.encode_json(dict(info)))
