"""Answers of `GET /v1/models` and `GET /v1/models/{model}`.

Source: OpenAI API reference, "The model object"; what stands after `owned_by` is what vLLM adds, and clients read.
"""

from __future__ import annotations

from typing import Any

from portico.core.dialect import RawRequest, Reply
from portico.core.errors import UnknownModel
from portico.core.model import ServerStatus
from portico.dialects import wire


def list_models(raw: RawRequest, status: ServerStatus) -> Reply:
    """Every name that the served model answers to, as a model of its own."""
    data = [_model(name, status) for name in status.served.names]
    return Reply(200, wire.encode_json({"object": "list", "data": data}))


def retrieve_model(raw: RawRequest, status: ServerStatus) -> Reply:
    """The model of that name.

    Raises:
        UnknownModel: none is.
    """
    name = raw.path_params["model"]
    if not status.served.answers_to(name):
        raise UnknownModel(name, status.served.names)
    return Reply(200, wire.encode_json(_model(name, status)))


def _model(name: str, status: ServerStatus) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": status.started_at,
        "owned_by": "portico",
        "root": status.served.path,
        "parent": None,
        "max_model_len": status.model.max_model_len,
        "permission": [_permission(name, status)],
    }


def _permission(name: str, status: ServerStatus) -> dict[str, Any]:
    """What everybody may do with a model: the same of every one, as in vLLM; its id there is a new one each time."""
    return {
        "id": f"modelperm-{name}",
        "object": "model_permission",
        "created": status.started_at,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
