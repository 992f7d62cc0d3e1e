"""Triton's gRPC protocol: the remote procedures and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from portico.core.dialect import Describe, Generate, RawRequest, Reply
from portico.core.errors import PorticoError, RequestError, UnknownModel
from portico.core.model import ServerStatus
from portico.core.rpc import Converse, DescribeEach, Procedure, RpcDialect, RpcRefusal, Watch
from portico.dialects.triton import errors, metadata, model, settings
from portico.dialects.triton.decode import Decoder
from portico.dialects.triton.infer_grpc import InferMessages
from portico.dialects.triton.messages import Messages
from portico.dialects.triton.profile import Profile
from portico.dialects.triton.protos import (
    HEALTH_SERVICE,
    INFERENCE_SERVICE,
    OLDER_REFLECTION_SERVICE,
    REFLECTION_SERVICE,
)
from portico.dialects.triton.reflection import Reflection

# What the statuses of HTTP are called here.
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}
# Takes the message that came and gives the fields of the one that goes.
Answer = Callable[[Any, ServerStatus], dict[str, Any]]


class UnknownService(RequestError):
    """The health of a service was asked for that is not there."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no service '{name}'.")


def build_rpc_dialect(profile: Profile) -> RpcDialect:
    """The procedures of one flavour."""
    return RpcDialect("triton", tuple(_procedures(Decoder(profile), Messages())), refuse)


def refuse(error: PorticoError) -> RpcRefusal:
    """An error with its status."""
    if isinstance(error, UnknownService):
        return RpcRefusal("NOT_FOUND", str(error), 404)
    status = errors.find_status(error, errors.TRITON)
    return RpcRefusal(_STATUSES[status], errors.describe(error), status)


def _procedures(decoder: Decoder, messages: Messages) -> Iterator[Procedure]:
    infer = InferMessages(decoder, messages)
    for method, answer in _ANSWERS.items():
        describe = Describe(
            _describe(messages, f"{method}Request", f"{method}Response", answer),
            adds_up_tenants=method == "ModelStatistics",
        )
        yield Procedure(INFERENCE_SERVICE, method, describe, is_open=method in ("ServerLive", "ServerReady"))
    for method, describe_method in _WITHOUT_MESSAGES.items():
        yield Procedure(INFERENCE_SERVICE, method, Describe(describe_method))
    yield Procedure(INFERENCE_SERVICE, "ModelInfer", Generate(infer.decode_unary))
    yield Procedure(
        INFERENCE_SERVICE,
        "ModelStreamInfer",
        Converse(infer.decode_streamed, infer.refuse_streamed, infer.ends_on_error),
    )
    check = _describe(messages, "HealthCheckRequest", "HealthCheckResponse", _check_health)
    yield Procedure(HEALTH_SERVICE, "Check", Describe(check), is_open=True)
    watch = _describe(messages, "HealthCheckRequest", "HealthCheckResponse", _watch_health)
    yield Procedure(HEALTH_SERVICE, "Watch", Watch(watch), is_open=True)
    for service in (REFLECTION_SERVICE, OLDER_REFLECTION_SERVICE):
        yield Procedure(service, "ServerReflectionInfo", DescribeEach(Reflection(messages).describe))


def _describe(
    messages: Messages, request: str, response: str, answer: Answer
) -> Callable[[RawRequest, ServerStatus], Reply]:
    def describe(raw: RawRequest, status: ServerStatus) -> Reply:
        fields = answer(messages.decode(request, raw.body), status)
        return Reply(200, messages.encode(response, fields), "application/grpc")

    return describe


def _model_ready(message: Any, status: ServerStatus) -> dict[str, Any]:
    """Of an unknown model too: clients take an error here for one of the connection."""
    try:
        model.require_model(status, message.name, message.version)
    except (UnknownModel, errors.UnknownVersion):
        return {"ready": False}
    return {"ready": status.is_ready}


def _model_metadata(message: Any, status: ServerStatus) -> dict[str, Any]:
    model.require_model(status, message.name, message.version)
    return model.model_metadata(status)


def _model_config(message: Any, status: ServerStatus) -> dict[str, Any]:
    model.require_model(status, message.name, message.version)
    return {"config": model.model_config(status)}


def _model_statistics(message: Any, status: ServerStatus) -> dict[str, Any]:
    if message.name:
        model.require_model(status, message.name, message.version)
    return model.model_statistics(status)


def _repository_index(message: Any, status: ServerStatus) -> dict[str, Any]:
    if message.repository_name:
        raise errors.RepositoryUnsupported
    return {"models": model.repository_index(status, only_ready=message.ready)}


def _check_health(message: Any, status: ServerStatus) -> dict[str, Any]:
    if message.service not in ("", INFERENCE_SERVICE):
        raise UnknownService(message.service)
    return {"status": "SERVING" if status.is_ready else "NOT_SERVING"}


def _watch_health(message: Any, status: ServerStatus) -> dict[str, Any]:
    """Of an unknown service too: it could come later, as the protocol sees it."""
    try:
        return _check_health(message, status)
    except UnknownService:
        return {"status": "SERVICE_UNKNOWN"}


def _refuse_control(message: Any, status: ServerStatus) -> dict[str, Any]:
    raise errors.RepositoryUnsupported if message.repository_name else errors.ModelControlRefused


# What the originals answer with empty messages, or refuse whatever the message says.
_WITHOUT_MESSAGES: dict[str, Callable[[RawRequest, ServerStatus], Reply]] = {
    "SystemSharedMemoryStatus": metadata.forget_regions,
    "SystemSharedMemoryRegister": metadata.refuse_region,
    "SystemSharedMemoryUnregister": metadata.forget_regions,
    "CudaSharedMemoryStatus": metadata.forget_regions,
    "CudaSharedMemoryRegister": metadata.refuse_region,
    "CudaSharedMemoryUnregister": metadata.forget_regions,
}

_ANSWERS: dict[str, Answer] = {
    "ServerLive": lambda message, status: {"live": True},
    "ServerReady": lambda message, status: {"ready": status.is_ready},
    "ServerMetadata": lambda message, status: model.server_metadata(status),
    "ModelReady": _model_ready,
    "ModelMetadata": _model_metadata,
    "ModelConfig": _model_config,
    "ModelStatistics": _model_statistics,
    "RepositoryIndex": _repository_index,
    "RepositoryModelLoad": _refuse_control,
    "RepositoryModelUnload": _refuse_control,
    "TraceSetting": settings.trace_setting_message,
    "LogSettings": settings.log_settings_message,
}
