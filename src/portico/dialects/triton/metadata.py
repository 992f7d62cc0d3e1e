"""What the metadata and health routes say."""

from __future__ import annotations

from typing import Any

from portico.core.dialect import RawRequest, Reply
from portico.core.errors import UnknownModel
from portico.core.model import ServerStatus
from portico.dialects import wire
from portico.dialects.triton.decode import ONLY_VERSION
from portico.dialects.triton.errors import UnknownVersion

# Only what these routes do: model configurations are reported, and generate is served.
_EXTENSIONS = ["model_configuration", "generate"]
_INPUTS = (
    ("text_input", "STRING", False),
    ("stream", "BOOL", True),
    ("sampling_parameters", "STRING", True),
    ("exclude_input_in_output", "BOOL", True),
    ("return_finish_reason", "BOOL", True),
    ("return_cumulative_logprob", "BOOL", True),
    ("return_num_input_tokens", "BOOL", True),
    ("return_num_output_tokens", "BOOL", True),
)
_OUTPUTS = (
    ("text_output", "STRING", -1),
    ("finish_reason", "STRING", -1),
    ("cumulative_logprob", "FP32", -1),
    ("num_input_tokens", "UINT32", 1),
    ("num_output_tokens", "UINT32", -1),
)


def describe_server(raw: RawRequest, status: ServerStatus) -> Reply:
    """`GET /v2`. Clients recognise the protocol by the name."""
    return _json({"name": "triton", "version": status.version, "extensions": _EXTENSIONS})


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
        UnknownModel: no such model is served.
        UnknownVersion: the model has no such version.
    """
    _require_model(raw, status)
    if not status.is_ready:
        return Reply(503, wire.encode_json({"error": "Model version not ready"}))
    return _empty(200)


def describe_model(raw: RawRequest, status: ServerStatus) -> Reply:
    """The model's tensors.

    Raises:
        UnknownModel: no such model is served.
        UnknownVersion: the model has no such version.
    """
    _require_model(raw, status)
    return _json(
        {
            "name": status.served.name,
            "versions": [ONLY_VERSION],
            "platform": "portico",
            "inputs": [_tensor(name, kind, 1) for name, kind, _ in _INPUTS],
            "outputs": [_tensor(name, kind, width) for name, kind, width in _OUTPUTS],
        }
    )


def describe_config(raw: RawRequest, status: ServerStatus) -> Reply:
    """The model's configuration, with the keys that hold here.

    Raises:
        UnknownModel: no such model is served.
        UnknownVersion: the model has no such version.
    """
    _require_model(raw, status)
    return _json(
        {
            "name": status.served.name,
            "platform": "",
            "backend": "portico",
            "version_policy": {"latest": {"num_versions": 1}},
            "max_batch_size": 0,
            "input": [_config_input(name, kind, is_optional) for name, kind, is_optional in _INPUTS],
            "output": [_config_output(name, kind, width) for name, kind, width in _OUTPUTS],
            "batch_input": [],
            "batch_output": [],
            "instance_group": [],
            "default_model_filename": "",
            "cc_model_filenames": {},
            "metric_tags": {},
            "parameters": {"max_model_len": {"string_value": str(status.model.max_model_len)}},
            "model_warmup": [],
            "model_transaction_policy": {"decoupled": True},
        }
    )


def _require_model(raw: RawRequest, status: ServerStatus) -> None:
    model = raw.path_params["model"]
    if not status.served.answers_to(model):
        raise UnknownModel(model, status.served.names)
    version = raw.path_params.get("version", ONLY_VERSION)
    if version != ONLY_VERSION:
        raise UnknownVersion(model, version)


def _tensor(name: str, kind: str, width: int) -> dict[str, Any]:
    # The wire calls strings bytes; the configuration calls them strings.
    return {"name": name, "datatype": "BYTES" if kind == "STRING" else kind, "shape": [width]}


def _config_input(name: str, kind: str, is_optional: bool) -> dict[str, Any]:
    return {
        "name": name,
        "data_type": f"TYPE_{kind}",
        "format": "FORMAT_NONE",
        "dims": [1],
        "is_shape_tensor": False,
        "allow_ragged_batch": False,
        "optional": is_optional,
        "is_non_linear_format_io": False,
    }


def _config_output(name: str, kind: str, width: int) -> dict[str, Any]:
    return {
        "name": name,
        "data_type": f"TYPE_{kind}",
        "dims": [width],
        "label_filename": "",
        "is_shape_tensor": False,
        "is_non_linear_format_io": False,
    }


def _json(value: Any) -> Reply:
    return Reply(200, wire.encode_json(value))


def _empty(status: int) -> Reply:
    return Reply(status, b"", "text/plain")
