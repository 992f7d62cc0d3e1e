"""What MindIE's own paths say about the server.

Source: MindIE Service's EndPoint API, "getSlotCount", "/v1/config" and "/metrics-json".
"""

from __future__ import annotations

from typing import Any

from portico.core.dialect import RawRequest, Reply
from portico.core.model import ServerStatus
from portico.dialects import wire

# Memory is measured when the model is loaded, and none of it is set aside on the host for swapping.
_DECIDED_AT_START, _NO_SWAPPING = -1, 0
_FIRST_COME = 0


def describe_config(raw: RawRequest, status: ServerStatus) -> Reply:
    """`GET /v1/config`."""
    config = {
        "modelName": status.served.name,
        "maxSeqLen": status.model.max_model_len,
        "npuMemSize": _DECIDED_AT_START,
        "cpuMemSize": _NO_SWAPPING,
        "worldSize": 1,
        "maxOutputLen": status.model.max_model_len - 1,
        "cacheBlockSize": status.stats.block_size,
    }
    return _json(config)


def describe_server(raw: RawRequest, status: ServerStatus) -> Reply:
    """`GET /v2`."""
    extensions = {
        "max_iter_times": status.model.max_model_len - 1,
        "prefill_policy_type": _FIRST_COME,
        "decode_policy_type": _FIRST_COME,
        "max_prefill_batch_size": status.limits.max_num_seqs,
        "max_prefill_tokens": status.model.max_model_len,
    }
    return _json({"name": "MindIE Server", "version": status.version, "extensions": extensions})


def describe_model(raw: RawRequest, status: ServerStatus) -> Reply:
    """`GET /v2/models/{model}`: the tensors of token ids.

    Raises:
        UnknownModel: no such model is served.
    """
    status.served.require(raw.path_params["model"])
    tensors = {kind: [{"name": f"{kind}0", "shape": [-1], "datatype": "UINT32"}] for kind in ("input", "output")}
    return _json(
        {
            "name": raw.path_params["model"],
            "platform": "MindIE Server",
            "inputs": tensors["input"],
            "outputs": tensors["output"],
        }
    )


def describe_model_config(raw: RawRequest, status: ServerStatus) -> Reply:
    """`GET /v2/models/{model}/config`.

    Raises:
        UnknownModel: no such model is served.
    """
    status.served.require(raw.path_params["model"])
    return _json(
        {
            "model_name": raw.path_params["model"],
            "input_datatype": "UINT32",
            "output_datatype": "UINT32",
            "max_seq_len": status.model.max_model_len,
            "npu_mem_size": _DECIDED_AT_START,
            "cpu_mem_size": _NO_SWAPPING,
            "world_size": 1,
            "model_weight_path": status.served.path.rstrip("/").rpartition("/")[2],
            "model_instance_type": "Standard",
        }
    )


def describe_slots(raw: RawRequest, status: ServerStatus) -> Reply:
    """`GET /v2/models/{model}/getSlotCount`: how many more sequences could run, and their tokens.

    Raises:
        UnknownModel: no such model is served.
    """
    status.served.require(raw.path_params["model"])
    stats = status.stats
    slots = {
        "total_slots": status.limits.max_num_seqs,
        "free_slots": max(status.limits.max_num_seqs - stats.num_running, 0),
        "available_tokens_length": stats.num_free_blocks * stats.block_size,
    }
    return _json(slots)


def describe_metrics(raw: RawRequest, status: ServerStatus) -> Reply:
    """`GET /metrics-json`: milliseconds and counts, as text."""
    stats, latencies = status.stats, status.latencies
    values = {
        "TTFT": round(latencies.first_token * 1000),
        "TBT": round(latencies.between_tokens * 1000),
        "waitingInferRequestNum": stats.num_waiting,
        "processingInferRequestNum": stats.num_running,
        "remainBlocks": stats.num_free_blocks,
    }
    instance = raw.headers.get("host", "")
    result = [
        {"metric": [{"__name__": name, "job": "node", "instance": instance}], "value": str(value)}
        for name, value in values.items()
    ]
    return _json({"resultType": "vector", "result": result})


def _json(value: dict[str, Any]) -> Reply:
    return Reply(200, wire.encode_json(value))
