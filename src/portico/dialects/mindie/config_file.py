"""Settings from `conf/config.json` of MindIE Service, under the names that this server's own flags have.

Every field of the file is taken over or remarked upon; none is passed over in silence.

Source: MindIE Service's documentation, "Configuration parameters (server side)".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

_MEGABYTE, _GIGABYTE = 2**20, 2**30
_SERVER, _DEPLOY, _SCHEDULE, _MODEL = "ServerConfig", "ModelDeployConfig", "ScheduleConfig", "ModelConfig[0]"

_SCHEDULER = "the scheduler fills its steps by itself"
_ONE_DEVICE = "the model runs on one device"
# Fields that have no counterpart, with the reason that the operator is told, and the value that asks for nothing.
_WITHOUT_MEANING: Mapping[str, tuple[str, Any]] = {
    "Version": ("it is the version of the file", ...),
    "LogConfig": ("logs go to the standard error output, see --log-level and --log-format", ...),
    "ServerConfig.fullTextEnabled": ("streams carry what is new", False),
    "ServerConfig.inferMode": ("prefill and decode are not on different machines", "standard"),
    "ServerConfig.openAiSupport": ("fields of vLLM are always taken", "vllm"),
    "ServerConfig.tlsPkPwd": ("the key must not be encrypted", ""),
    "ServerConfig.tlsCrlPath": ("revocation lists are not read", ""),
    "ServerConfig.tlsCrlFiles": ("revocation lists are not read", []),
    "ServerConfig.distDPServerEnabled": (_ONE_DEVICE, False),
    "ServerConfig.HealthCheckConfig": ("a server that answers is healthy", ...),
    "BackendConfig.backendName": ("there is one engine", ...),
    "BackendConfig.modelInstanceNumber": ("there is one instance", 1),
    "BackendConfig.npuDeviceIds": ("the device is chosen with --device", ...),
    "BackendConfig.tokenizerProcessNumber": ("the tokenizer runs in the server", ...),
    "BackendConfig.multiNodesInferEnabled": (_ONE_DEVICE, False),
    "BackendConfig.multiNodesInferPort": (_ONE_DEVICE, ...),
    "BackendConfig.kvPoolConfig": (_ONE_DEVICE, {"backend": "", "configPath": ""}),
    "EnableDynamicAdjustTimeoutConfig": ("time limits are those that are set", False),
    "ServerConfig.layerwiseDisaggregated": (_ONE_DEVICE, False),
    "ModelDeployConfig.truncation": ("prompts that are too long are refused, unless a request truncates", (0, False)),
    "ModelDeployConfig.LoraModules": ("there are no adapters", []),
    "ModelConfig[0].modelInstanceType": ("it is always a real model; see --engine for a scripted one", "Standard"),
    "ModelConfig[0].worldSize": (_ONE_DEVICE, 1),
    "ModelConfig[0].cpuMemSize": ("sequences that lose their place are evaluated again", 0),
    "ModelConfig[0].backendType": ("there is one engine", ...),
    "ModelConfig[0].trustRemoteCode": ("code in checkpoints is never run", False),
    "ModelConfig[0].plugin_params": ("prefixes are cached and prompts are split without it", ""),
    "ModelConfig[0].models": ("what it sets is for models that are served otherwise here", {}),
    "ModelConfig[0].async_scheduler_wait_time": (_SCHEDULER, ...),
    "ModelConfig[0].kv_trans_timeout": (_ONE_DEVICE, ...),
    "ModelConfig[0].kv_link_timeout": (_ONE_DEVICE, ...),
    "ModelConfig[0].maxLoras": ("there are no adapters", 0),
    "ModelConfig[0].maxLoraRank": ("there are no adapters", 0),
    "ScheduleConfig.templateType": (_SCHEDULER, ...),
    "ScheduleConfig.templateName": (_SCHEDULER, ...),
    "ScheduleConfig.maxPrefillBatchSize": (_SCHEDULER, ...),
    "ScheduleConfig.prefillTimeMsPerReq": (_SCHEDULER, ...),
    "ScheduleConfig.decodeTimeMsPerReq": (_SCHEDULER, ...),
    "ScheduleConfig.prefillPolicyType": ("requests are served in order of arrival", 0),
    "ScheduleConfig.decodePolicyType": ("requests are served in order of arrival", 0),
    "ScheduleConfig.maxIterTimes": ("the output of a request ends with its own limit or the context", ...),
    "ScheduleConfig.maxPreemptCount": (_SCHEDULER, ...),
    "ScheduleConfig.supportSelectBatch": (_SCHEDULER, ...),
    "ScheduleConfig.maxQueueDelayMicroseconds": (_SCHEDULER, ...),
    "ScheduleConfig.maxFirstTokenWaitTime": (_SCHEDULER, ...),
}


class MindieConfigError(Exception):
    """The file cannot be used; the message is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class FoundSettings:
    """What a file says: settings by their names here, and sentences about what has no meaning here."""

    settings: Mapping[str, Any]
    remarks: tuple[str, ...]


def read_mindie_config(path: Path) -> FoundSettings:
    """The settings in a file; relative paths in it are below the folder that its own folder is in.

    Raises:
        MindieConfigError: it cannot be read, or a field has the wrong type.
    """
    try:
        content = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise MindieConfigError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise MindieConfigError(f"{path} must hold a JSON object")
    reader = _Reader(path, _flatten(content))
    settings: dict[str, Any] = {"profile": "mindie"}
    settings |= _addresses(reader) | _tls(reader) | _limits(reader) | _model(reader)
    return FoundSettings(settings, tuple(reader.remark_on_rest()))


def _flatten(content: Mapping[str, Any]) -> dict[str, Any]:
    """Fields by their section and name; sections within `BackendConfig` stand for themselves."""
    fields: dict[str, Any] = {}
    for section, value in content.items():
        if not isinstance(value, dict) or section == "LogConfig":
            fields[section] = value
            continue
        for name, inner in value.items():
            if section == "BackendConfig" and name in (_DEPLOY, _SCHEDULE) and isinstance(inner, dict):
                fields |= {f"{name}.{key}": each for key, each in inner.items()}
            else:
                fields[f"{section}.{name}"] = inner
    models = fields.pop(f"{_DEPLOY}.ModelConfig", None)
    for index, model in enumerate(models if isinstance(models, list) else []):
        if isinstance(model, dict):
            fields |= {f"ModelConfig[{index}].{key}": each for key, each in model.items()}
    return fields


@dataclass(slots=True)
class _Reader:
    """Takes fields one by one and remembers which."""

    path: Path
    fields: dict[str, Any]
    taken: set[str] = field(default_factory=set)

    def take(self, name: str, kind: type, default: Any) -> Any:
        """A field, or its default in MindIE where it is absent.

        Raises:
            MindieConfigError: it has another type.
        """
        self.taken.add(name)
        value = self.fields.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise MindieConfigError(f"{name} in {self.path} must be of type {kind.__name__}, not {value!r}")
        return value

    def file(self, folder: str, name: str) -> str:
        """A file below the folder of the installation."""
        return str(self.path.resolve().parent.parent / folder / name)

    def remark_on_rest(self) -> list[str]:
        """A sentence for each field that was not taken, unless it asks for nothing."""
        remarks = []
        for name, value in self.fields.items():
            if name in self.taken:
                continue
            reason, neutral = _WITHOUT_MEANING.get(name, (_reason_of_unknown(name), None))
            neutrals = neutral if isinstance(neutral, tuple) else (neutral,)
            if not any(value == each for each in neutrals):
                shown = msgspec.json.encode(value).decode()
                remarks.append(f"{name} = {shown} has no meaning here: {reason}.")
        return remarks


# What the names of whole groups of fields begin with, with the reason for all of them.
_GROUPS: Mapping[str, str] = {
    "ModelConfig[0].": "it is not known",
    "ModelConfig[": "one model is served, the first of the list",
    f"{_SERVER}.management": "management ports are served with the certificates of the others",
    f"{_SERVER}.metrics": "management ports are served with the certificates of the others",
    f"{_SERVER}.interComm": "there is no communication between instances",
    f"{_SERVER}.layerwiseDisaggregated": _ONE_DEVICE,
    "BackendConfig.interNode": _ONE_DEVICE,
}


def _reason_of_unknown(name: str) -> str:
    return next((reason for start, reason in _GROUPS.items() if name.startswith(start)), "it is not known")


def _addresses(reader: _Reader) -> dict[str, Any]:
    host = reader.take(f"{_SERVER}.ipAddress", str, "127.0.0.1")
    management_host = reader.take(f"{_SERVER}.managementIpAddress", str, "127.0.0.2")
    allows_all = reader.take(f"{_SERVER}.allowAllZeroIpListening", bool, False)
    for address in (host, management_host):
        if address in ("0.0.0.0", "::") and not allows_all:
            raise MindieConfigError(
                f"{reader.path} has the address {address}, which is every address, without allowAllZeroIpListening"
            )
    ports = (
        reader.take(f"{_SERVER}.managementPort", int, 1026),
        reader.take(f"{_SERVER}.metricsPort", int, 1027),
    )
    return {
        "host": host,
        "port": reader.take(f"{_SERVER}.port", int, 1025),
        "management_host": management_host,
        "management_port": list(dict.fromkeys(ports)),
        # MindIE has no gRPC, so a file of its own cannot have kept the port free.
        "grpc_port": 0,
    }


def _tls(reader: _Reader) -> dict[str, Any]:
    is_on = reader.take(f"{_SERVER}.httpsEnabled", bool, True)
    folder = reader.take(f"{_SERVER}.tlsCaPath", str, "")
    authorities = reader.take(f"{_SERVER}.tlsCaFile", list, [])
    certificate = reader.take(f"{_SERVER}.tlsCert", str, "")
    key = reader.take(f"{_SERVER}.tlsPk", str, "")
    if not is_on:
        return {}
    if not certificate or not key or not authorities:
        raise MindieConfigError(f"{reader.path} has httpsEnabled, which needs tlsCert, tlsPk and tlsCaFile")
    return {
        "tls_certificate": reader.file("", certificate),
        "tls_key": reader.file("", key),
        "tls_client_ca": reader.file(folder, authorities[0]),
    }


def _limits(reader: _Reader) -> dict[str, Any]:
    max_seq_len = reader.take(f"{_DEPLOY}.maxSeqLen", int, 2560)
    max_batch_size = reader.take(f"{_SCHEDULE}.maxBatchSize", int, 200)
    max_link_num = reader.take(f"{_SERVER}.maxLinkNum", int, 1000)
    return {
        "max_total_tokens": max_seq_len,
        "max_input_tokens": min(reader.take(f"{_DEPLOY}.maxInputTokenLen", int, 2048), max_seq_len - 1),
        "max_num_seqs": max_batch_size,
        # So many are worked on, and twice as many wait.
        "max_waiting": max(3 * max_link_num - max_batch_size, 0),
        "max_num_batched_tokens": reader.take(f"{_SCHEDULE}.maxPrefillTokens", int, 8192),
        "block_size": reader.take(f"{_SCHEDULE}.cacheBlockSize", int, 128),
        "max_choices": reader.take(f"{_SCHEDULE}.maxN", int, 128),
        "request_timeout": float(reader.take(f"{_SERVER}.e2eTimeout", int, 600)),
        "stall_timeout": float(reader.take(f"{_SERVER}.tokenTimeout", int, 600)),
        "max_body_size": reader.take(f"{_SERVER}.maxRequestLength", int, 40) * _MEGABYTE,
    }


def _model(reader: _Reader) -> dict[str, Any]:
    name = reader.take(f"{_MODEL}.modelName", str, "")
    weights = reader.take(f"{_MODEL}.modelWeightPath", str, "")
    memory = reader.take(f"{_MODEL}.npuMemSize", int, -1)
    if not weights:
        raise MindieConfigError(f"{reader.path} names no model: ModelConfig[0].modelWeightPath is missing")
    found: dict[str, Any] = {"model": reader.file("", weights)}
    if name:
        found["served_model_name"] = [name]
    if memory > 0:
        found["kv_cache_memory"] = memory * _GIGABYTE
    return found
