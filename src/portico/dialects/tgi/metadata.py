"""What TGI's metadata routes say."""

from __future__ import annotations

from portico.core.dialect import RawRequest, Reply
from portico.core.model import ServerStatus
from portico.dialects import wire
from portico.dialects.tgi import errors


def describe_health(raw: RawRequest, status: ServerStatus) -> Reply:
    """200 without a body while requests are taken, else 503."""
    return Reply(200, b"", "text/plain; charset=utf-8") if status.is_ready else errors.unhealthy()


def describe_info(raw: RawRequest, status: ServerStatus) -> Reply:
    """`GET /info`: the keys of TGI 3, then those that only older versions had and that hold here."""
    limits, model = status.limits, status.model
    info = {
        "model_id": status.served.name,
        "model_sha": None,
        "model_pipeline_tag": "text-generation",
        "max_concurrent_requests": limits.max_num_seqs + limits.max_waiting,
        "max_best_of": limits.max_choices,
        "max_stop_sequences": limits.max_stop,
        "max_input_tokens": model.max_model_len - 1,
        "max_total_tokens": model.max_model_len,
        "validation_workers": 1,
        "max_client_batch_size": 1,
        "router": "portico",
        "version": status.version,
        "sha": None,
        "docker_label": None,
        "max_input_length": model.max_model_len - 1,
        "model_dtype": model.dtype,
        "model_device_type": model.device,
    }
    return Reply(200, wire.encode_json(info))
