"""What the routes of HTTP say that do not generate."""

from __future__ import annotations

from typing import Any

from portico.core.dialect import RawRequest, Reply
from portico.core.errors import InvalidParameter, UnsupportedParameter
from portico.core.model import ServerStatus
from portico.dialects import wire
from portico.dialects.triton import model
from portico.dialects.triton.errors import ModelControlRefused, RepositoryUnsupported, SharedMemoryDisabled


def describe_server(raw: RawRequest, status: ServerStatus) -> Reply:
    """`GET /v2`."""
    return _json(model.server_metadata(status))


def describe_live(raw: RawRequest, status: ServerStatus) -> Reply:
    """200 without a body: whoever answers is alive."""
    return _empty(200)


def describe_ready(raw: RawRequest, status: ServerStatus) -> Reply:
    """200 without a body while requests are taken, else 503."""
    return _empty(200 if status.is_ready else 503)


def describe_models(raw: RawRequest, status: ServerStatus) -> Reply:
    """The names of all models."""
    return _json({"models": list(status.served.names)})


def describe_model_ready(raw: RawRequest, status: ServerStatus) -> Reply:
    """200 without a body while the model takes requests, else 503.

    Raises:
        RequestError: no such model or version is served.
    """
    _require_model(raw, status)
    if not status.is_ready:
        return Reply(503, wire.encode_json({"error": "Model version not ready"}))
    return _empty(200)


def describe_model(raw: RawRequest, status: ServerStatus) -> Reply:
    """The model's tensors.

    Raises:
        RequestError: no such model or version is served.
    """
    _require_model(raw, status)
    return _json(model.model_metadata(status))


def describe_config(raw: RawRequest, status: ServerStatus) -> Reply:
    """The model's configuration.

    Raises:
        RequestError: no such model or version is served.
    """
    _require_model(raw, status)
    return _json(model.model_config(status))


def describe_statistics(raw: RawRequest, status: ServerStatus) -> Reply:
    """What requests took, of one model or of all.

    Raises:
        RequestError: no such model or version is served.
    """
    if "model" in raw.path_params:
        _require_model(raw, status)
    return _json(model.model_statistics(status))


def describe_index(raw: RawRequest, status: ServerStatus) -> Reply:
    """The models of the repository, or only those that are ready.

    Raises:
        RequestError: the body asks for something else.
    """
    fields = wire.decode_object(raw.body) if raw.body.strip() else {}
    for name in fields:
        if name != "ready":
            raise UnsupportedParameter(name, f"Unknown parameter: `{name}`.")
    only_ready = wire.or_default(fields.get("ready"), False)
    if not isinstance(only_ready, bool):
        raise InvalidParameter("ready", "Invalid value for 'ready': expected a boolean")
    return _json(model.repository_index(status, only_ready=only_ready))


def refuse_control(raw: RawRequest, status: ServerStatus) -> Reply:
    """Loading and unloading, as they are refused where the operator has not allowed them.

    Raises:
        ModelControlRefused: always.
    """
    raise ModelControlRefused


def describe_regions(raw: RawRequest, status: ServerStatus) -> Reply:
    """Regions of shared memory: none, as where the operator has not allowed them."""
    return _json([])


def forget_regions(raw: RawRequest, status: ServerStatus) -> Reply:
    """200 without a body: none is registered afterwards, as before."""
    return _empty(200)


def refuse_region(raw: RawRequest, status: ServerStatus) -> Reply:
    """A region to be registered.

    Raises:
        SharedMemoryDisabled: always.
    """
    raise SharedMemoryDisabled


def refuse_repository(raw: RawRequest, status: ServerStatus) -> Reply:
    """A path with the name of a repository.

    Raises:
        RepositoryUnsupported: always.
    """
    raise RepositoryUnsupported


def _require_model(raw: RawRequest, status: ServerStatus) -> None:
    model.require_model(status, raw.path_params["model"], raw.path_params.get("version", ""))


def _json(value: Any) -> Reply:
    return Reply(200, wire.encode_json(value))


def _empty(status: int) -> Reply:
    return Reply(status, b"", "text/plain")
