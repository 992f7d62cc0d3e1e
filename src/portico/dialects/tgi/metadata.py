"""What TGI's metadata routes say."""

from __future__ import annotations

from portico.core.dialect import RawRequest, Reply
from portico.core.model import ServerStatus
from portico.dialects import wire
from portico.dialects.tgi import errors
from portico.dialects.tgi.profile import Profile


def describe_health(raw: RawRequest, status: ServerStatus) -> Reply:
    """200 without a body while requests are taken, else 503."""
    return Reply(200, b"", "text/plain; charset=utf-8") if status.is_ready else errors.unhealthy()


def describe_info(raw: RawRequest, status: ServerStatus, profile: Profile) -> Reply:
    """`GET /info`: the keys of TGI 3, then those that only older versions had and that hold here."""
    if profile.has_token_lists:
        return _describe_mindie_info(status)
    limits, model = status.limits, status.model
    max_input_tokens = wire.or_default(limits.max_prompt_tokens, model.max_model_len - 1)
    info = {
        "model_id": status.served.name,
        "model_sha": None,
        "model_pipeline_tag": "text-generation",
        "max_concurrent_requests": limits.max_num_seqs + limits.max_waiting,
        "max_best_of": wire.or_default(profile.max_best_of, limits.max_choices),
        "max_stop_sequences": wire.or_default(profile.max_stop_sequences, limits.max_stop),
        "max_input_tokens": max_input_tokens,
        "max_total_tokens": model.max_model_len,
        "validation_workers": 1,
        "max_client_batch_size": wire.or_default(profile.max_client_batch_size, limits.max_num_seqs),
        "router": "portico",
        "version": status.version,
        "sha": None,
        "docker_label": None,
        "max_input_length": max_input_tokens,
        "model_dtype": model.dtype,
        "model_device_type": model.device,
    }
    return Reply(200, wire.encode_json(info))


def _describe_mindie_info(status: ServerStatus) -> Reply:
    """`GET /info` of MindIE Service."""
    limits, model = status.limits, status.model
    info = {
        "docker_label": None,
        "max_batch_total_tokens": model.max_model_len * limits.max_num_seqs,
        "max_best_of": limits.max_choices,
        "max_concurrent_requests": limits.max_num_seqs,
        "max_stop_sequences": limits.max_stop,
        "max_waiting_tokens": None,
        "sha": None,
        "validation_workers": None,
        "version": status.version,
        "waiting_served_ratio": None,
        "models": [
            {
                "model_device_type": model.device,
                "model_dtype": model.dtype,
                "model_id": status.served.name,
                "model_pipeline_tag": "text-generation",
                "model_sha": None,
                "max_total_tokens": model.max_model_len,
            }
        ],
        "max_input_length": wire.or_default(limits.max_prompt_tokens, model.max_model_len - 1),
    }
    return Reply(200, wire.encode_json(info))
