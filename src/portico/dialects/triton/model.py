"""What is said of the server and its model, as plain objects that HTTP and gRPC share."""

from __future__ import annotations

from typing import Any

from portico.core.errors import UnknownModel
from portico.core.model import RequestCounts, ServerStatus
from portico.dialects.triton.decode import ONLY_VERSION, require_version
from portico.dialects.triton.outputs import OUTPUTS

# Only what is there: tensors in binary form, parameters, statistics, configurations, the list of models, and generate.
_EXTENSIONS = ["model_repository", "model_configuration", "binary_tensor_data", "parameters", "statistics", "generate"]
_INPUTS = (
    ("text_input", "STRING", False),
    ("stream", "BOOL", True),
    ("sampling_parameters", "STRING", True),
    ("exclude_input_in_output", "BOOL", True),
    ("return_finish_reason", "BOOL", True),
    ("return_cumulative_logprob", "BOOL", True),
    ("return_logprobs", "BOOL", True),
    ("return_num_input_tokens", "BOOL", True),
    ("return_num_output_tokens", "BOOL", True),
)
_NANOSECONDS = 1_000_000_000


def require_model(status: ServerStatus, model: str, version: str) -> None:
    """Checks that a model is served; an empty version is the latest.

    Raises:
        UnknownModel: no such model is served.
        UnknownVersion: the model has no such version.
    """
    if not status.served.answers_to(model):
        raise UnknownModel(model, status.served.names)
    require_version(model, version)


def server_metadata(status: ServerStatus) -> dict[str, Any]:
    """The server. Clients recognise the protocol by the name."""
    return {"name": "triton", "version": status.version, "extensions": _EXTENSIONS}


def model_metadata(status: ServerStatus) -> dict[str, Any]:
    """The model's tensors."""
    return {
        "name": status.served.name,
        "versions": [ONLY_VERSION],
        "platform": "portico",
        "inputs": [_tensor(name, _on_wire(kind), 1) for name, kind, _ in _INPUTS],
        "outputs": [_tensor(spec.name, spec.datatype, spec.width) for spec in OUTPUTS],
    }


def model_config(status: ServerStatus) -> dict[str, Any]:
    """The model's configuration, with the keys that hold here."""
    return {
        "name": status.served.name,
        "platform": "",
        "backend": "portico",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": 0,
        "input": [_config_input(name, kind, is_optional) for name, kind, is_optional in _INPUTS],
        "output": [_config_output(spec.name, spec.datatype, spec.width) for spec in OUTPUTS],
        "batch_input": [],
        "batch_output": [],
        "instance_group": [_instance_group(status)],
        "default_model_filename": "",
        "cc_model_filenames": {},
        "metric_tags": {},
        "parameters": {"max_model_len": {"string_value": str(status.model.max_model_len)}},
        "model_warmup": [],
        "model_transaction_policy": {"decoupled": True},
    }


def model_statistics(status: ServerStatus) -> dict[str, Any]:
    """What requests of every dialect took since the start; all of them are the one model's."""
    counts = status.counts
    return {
        "model_stats": [
            {
                "name": status.served.name,
                "version": ONLY_VERSION,
                "last_inference": round(counts.last_answered_at * 1000),
                "inference_count": counts.num_answered,
                "execution_count": counts.num_answered,
                "inference_stats": _durations(counts),
                "response_stats": {},
                "batch_stats": [],
                "memory_usage": [],
            }
        ]
    }


def repository_index(status: ServerStatus, *, only_ready: bool) -> list[dict[str, Any]]:
    """Every name that the model answers to."""
    if only_ready and not status.is_ready:
        return []
    state = {"state": "READY"} if status.is_ready else {"state": "UNAVAILABLE", "reason": "the engine is not running"}
    return [{"name": name, "version": ONLY_VERSION, **state} for name in status.served.names]


def _durations(counts: RequestCounts) -> dict[str, Any]:
    """Durations by the protocol's words: input is text to tokens, output is from the last token to its delivery."""
    answered = counts.num_answered
    return {
        "success": _duration(answered, counts.answered_seconds),
        "fail": _duration(counts.num_failed + counts.num_cancelled, counts.failed_seconds),
        "queue": _duration(answered, counts.queue_seconds),
        "compute_input": _duration(answered, counts.prepare_seconds),
        "compute_infer": _duration(answered, counts.generate_seconds),
        "compute_output": _duration(answered, counts.deliver_seconds),
        "cache_hit": _duration(0, 0),
        "cache_miss": _duration(0, 0),
    }


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(seconds * _NANOSECONDS)}


def _on_wire(kind: str) -> str:
    """The wire calls strings bytes; the configuration calls them strings."""
    return "BYTES" if kind == "STRING" else kind


def _tensor(name: str, datatype: str, width: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [width]}


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


def _config_output(name: str, datatype: str, width: int) -> dict[str, Any]:
    return {
        "name": name,
        "data_type": f"TYPE_{'STRING' if datatype == 'BYTES' else datatype}",
        "dims": [width],
        "label_filename": "",
        "is_shape_tensor": False,
        "is_non_linear_format_io": False,
    }


def _instance_group(status: ServerStatus) -> dict[str, Any]:
    """The one instance. Clients take its number of devices for that of workers, so it has one on any device."""
    return {
        "name": f"{status.served.name}_0",
        "kind": "KIND_MODEL",
        "count": 1,
        "gpus": [0],
        "secondary_devices": [],
        "profile": [],
        "passive": False,
        "host_policy": "",
    }
