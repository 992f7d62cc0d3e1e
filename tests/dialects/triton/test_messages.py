"""The declared messages against those that the official client was generated with."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tritonclient.grpc import model_config_pb2, service_pb2

from portico.core.errors import MalformedRequest
from portico.dialects.triton.messages import Messages
from portico.dialects.triton.protos import PROTOS

_NESTED = {
    "TensorMetadata": "ModelMetadataResponse",
    "InferInputTensor": "ModelInferRequest",
    "InferRequestedOutputTensor": "ModelInferRequest",
    "InferOutputTensor": "ModelInferResponse",
    "ModelIndex": "RepositoryIndexResponse",
    "Latest": "ModelVersionPolicy",
    "TraceSettingValue": "TraceSettingRequest",
    "LogSettingValue": "LogSettingsRequest",
}
_NESTED_NAMES = {"TraceSettingValue": "SettingValue", "LogSettingValue": "SettingValue"}


def declared() -> list[str]:
    return [line.split()[1] for line in PROTOS["inference"].splitlines() if line.strip().startswith("message")]


def original(name: str) -> Any:
    parent = _NESTED.get(name)
    for module in (service_pb2, model_config_pb2):
        types = module.DESCRIPTOR.message_types_by_name
        if parent in types:
            return types[parent].nested_types_by_name[_NESTED_NAMES.get(name, name)]
        if name in types:
            return types[name]
    raise LookupError(name)


@pytest.mark.parametrize("name", declared())
def test_fields_are_those_of_the_original(name: str) -> None:
    theirs = original(name).fields_by_name
    for field in Messages().make(name).DESCRIPTOR.fields:
        their = theirs[field.name]
        assert (field.number, field.type, field.is_repeated) == (their.number, their.type, their.is_repeated)
        assert (field.containing_oneof is None) == (their.containing_oneof is None)
        if field.enum_type is not None:
            values = their.enum_type.values_by_name
            assert all(values[value.name].number == value.number for value in field.enum_type.values)


def test_methods_are_those_of_the_original() -> None:
    def describe(service: Any) -> dict[str, Any]:
        return {
            each.name: (each.input_type.full_name, each.output_type.full_name, each.client_streaming)
            for each in service.methods
        }

    service = Messages().pool.FindServiceByName("inference.GRPCInferenceService")
    assert describe(service) == describe(service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"])


def test_health_messages() -> None:
    encoded = Messages().encode("HealthCheckResponse", {"status": "SERVING"})
    assert encoded == b"\x08\x01"


def test_bytes_that_are_no_message() -> None:
    with pytest.raises(MalformedRequest):
        Messages().decode("ModelInferRequest", b"\xff")


def test_the_common_pool_stays_free() -> None:
    """A second library with the same names can be loaded, here in the common pool's stead."""
    Messages()
    Messages()
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto()
    model_config_pb2.DESCRIPTOR.CopyToProto(file)
    pool.Add(file)
    assert message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))(name="x").name == "x"
