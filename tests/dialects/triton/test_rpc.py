"""Remote procedures, asked with the messages of the official client."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from tritonclient.grpc import service_pb2

from portico.core.dialect import Describe, Generate
from portico.core.errors import EngineFailure, InvalidParameter, PorticoError, RequestError
from portico.core.events import fold
from portico.core.model import ServerStatus
from portico.core.rpc import Converse, DescribeEach, Watch
from portico.dialects import triton
from portico.dialects.triton.messages import Messages
from portico.dialects.triton.protos import INFERENCE_SERVICE
from tests.dialects.compact import event
from tests.dialects.golden import STATUS, raw_request

RPC = triton.rpc_dialect()
PROCEDURES = {procedure.method: procedure.operation for procedure in RPC.procedures}


def ask(method: str, status: ServerStatus = STATUS, **fields: Any) -> Any:
    operation = PROCEDURES[method]
    assert isinstance(operation, Describe)
    request = getattr(service_pb2, f"{method}Request")(**fields)
    reply = operation.describe(raw_request("POST", "/", request.SerializeToString()), status)
    return getattr(service_pb2, f"{method}Response").FromString(reply.body)


def text_request(text: str = "hi", parameters: dict[str, Any] | None = None, **fields: Any) -> Any:
    request = service_pb2.ModelInferRequest(model_name="demo", **fields)
    request.inputs.add(name="text_input", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(struct.pack("<I", len(text)) + text.encode())
    for name, value in (parameters or {}).items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
        setattr(request.parameters[name], kind, value)
    return request


def infer(request: Any, *forms: Any) -> Any:
    operation = PROCEDURES["ModelInfer"]
    assert isinstance(operation, Generate)
    exchange = operation.decode(raw_request("POST", "/", request.SerializeToString()))
    events = [event(form) for form in (["started", "demo", [1]], *forms)]
    return service_pb2.ModelInferResponse.FromString(exchange.reply(fold(events)).body)


def converse(request: Any, *batches: Any, error: PorticoError | None = None) -> list[Any]:
    operation = PROCEDURES["ModelStreamInfer"]
    assert isinstance(operation, Converse)
    exchange = operation.decode(raw_request("POST", "/", request.SerializeToString()))
    encoder = exchange.encoder()
    found = [message for batch in batches for message in encoder.feed([event(form) for form in batch])]
    found += encoder.fail(error) if error else []
    return [service_pb2.ModelStreamInferResponse.FromString(message) for message in found]


def texts(responses: list[Any]) -> list[tuple[bytes, bool]]:
    return [
        (
            each.infer_response.raw_output_contents[0][4:],
            each.infer_response.parameters["triton_final_response"].bool_param,
        )
        for each in responses
    ]


def test_states() -> None:
    loading = replace(STATUS, is_ready=False)
    assert ask("ServerLive", loading).live
    assert ask("ServerReady").ready
    assert not ask("ServerReady", loading).ready
    assert ask("ModelReady", name="alias/one", version="1").ready
    assert not ask("ModelReady", loading, name="demo").ready
    assert not ask("ModelReady", name="other").ready
    assert not ask("ModelReady", name="demo", version="3").ready


def test_metadata() -> None:
    assert ask("ServerMetadata").name == "triton"
    metadata = ask("ModelMetadata", name="demo")
    assert [each.name for each in metadata.inputs][:2] == ["text_input", "stream"]
    config = ask("ModelConfig", name="demo").config
    assert config.model_transaction_policy.decoupled
    assert list(config.instance_group[0].gpus) == [0]
    (statistics,) = ask("ModelStatistics").model_stats
    assert statistics.inference_stats.success.ns == 6_500_000_000
    assert [each.state for each in ask("RepositoryIndex").models] == ["READY", "READY"]


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelConfig", "ModelStatistics"])
def test_unknown_models(method: str) -> None:
    with pytest.raises(RequestError) as refusal:
        ask(method, name="other")
    assert RPC.refuse(refusal.value).status == "NOT_FOUND"


@pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryModelUnload"])
def test_control(method: str) -> None:
    with pytest.raises(RequestError, match="explicit model load / unload is not allowed") as refusal:
        ask(method, model_name="demo")
    assert RPC.refuse(refusal.value).status == "UNAVAILABLE"


def test_repositories_have_no_names() -> None:
    for method in ("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"):
        with pytest.raises(RequestError, match="'repository_name' specification is not supported") as refusal:
            ask(method, repository_name="other")
        assert RPC.refuse(refusal.value).status == "UNIMPLEMENTED"


def test_settings_are_read_and_not_changed() -> None:
    logs = ask("LogSettings").settings
    assert (logs["log_info"].bool_param, logs["log_verbose_level"].uint32_param) == (True, 0)
    assert not ask("LogSettings", replace(STATUS, log_level="error")).settings["log_warning"].bool_param
    traces = ask("TraceSetting", model_name="demo").settings
    assert list(traces["trace_level"].value) == ["OFF"]
    value = service_pb2.LogSettingsRequest.SettingValue
    assert ask("LogSettings", settings={"log_info": value(bool_param=True), "log_file": value()}) == ask("LogSettings")
    with pytest.raises(RequestError, match="'log_info' is True and can not be updated") as refusal:
        ask("LogSettings", settings={"log_info": value(bool_param=False)})
    assert RPC.refuse(refusal.value).status == "UNIMPLEMENTED"
    level = service_pb2.TraceSettingRequest.SettingValue(value=["TIMESTAMPS"])
    with pytest.raises(RequestError, match="requests are not traced"):
        ask("TraceSetting", settings={"trace_level": level})
    with pytest.raises(RequestError, match="`other` does not exist"):
        ask("TraceSetting", model_name="other")


def reflect(**fields: Any) -> Any:
    operation = PROCEDURES["ServerReflectionInfo"]
    assert isinstance(operation, DescribeEach)
    messages = Messages()
    body = messages.make("ServerReflectionRequest", **fields).SerializeToString()
    return messages.decode("ServerReflectionResponse", operation.describe(raw_request("POST", "/", body), STATUS).body)


def test_reflection() -> None:
    names = [each.name for each in reflect(list_services="").list_services_response.service]
    assert INFERENCE_SERVICE in names
    for question in ({"file_containing_symbol": INFERENCE_SERVICE}, {"file_by_filename": "portico/inference.proto"}):
        (encoded,) = reflect(**question).file_descriptor_response.file_descriptor_proto
        file = descriptor_pb2.FileDescriptorProto.FromString(encoded)
        assert file.service[0].name == "GRPCInferenceService"
    for question in ({"file_containing_symbol": "nothing"}, {"all_extension_numbers_of_type": INFERENCE_SERVICE}):
        assert reflect(**question).error_response.error_code == 5
    assert reflect(host="here").error_response.error_code == 3


def test_health() -> None:
    check = PROCEDURES["Check"]
    assert isinstance(check, Describe)
    name = INFERENCE_SERVICE.encode()
    for body in (b"", b"\x0a" + bytes([len(name)]) + name):
        assert check.describe(raw_request("POST", "/", body), STATUS).body == b"\x08\x01"
    assert check.describe(raw_request("POST", "/", b""), replace(STATUS, is_ready=False)).body == b"\x08\x02"
    with pytest.raises(RequestError) as refusal:
        check.describe(raw_request("POST", "/", b"\x0a\x01x"), STATUS)
    assert RPC.refuse(refusal.value).status == "NOT_FOUND"
    watch = PROCEDURES["Watch"]
    assert isinstance(watch, Watch)
    assert watch.describe(raw_request("POST", "/", b""), STATUS).body == b"\x08\x01"
    assert watch.describe(raw_request("POST", "/", b"\x0a\x01x"), STATUS).body == b"\x08\x03"


def test_one_answer() -> None:
    request = text_request(id="7", parameters={"max_tokens": 2, "temperature": 0.5, "return_finish_reason": True})
    response = infer(request, ["delta", 0, "a", [6]], ["finished", 0, "length"])
    assert (response.id, response.model_name, response.model_version) == ("7", "demo", "1")
    assert [(each.name, each.datatype, list(each.shape)) for each in response.outputs] == [
        ("text_output", "BYTES", [1]),
        ("finish_reason", "BYTES", [1]),
    ]
    assert list(response.raw_output_contents) == [b"\3\0\0\0hia", b"\6\0\0\0length"]


def test_typed_contents() -> None:
    request = service_pb2.ModelInferRequest(model_name="demo")
    request.inputs.add(name="text_input", datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(b"hi")
    request.inputs.add(name="max_tokens", datatype="INT32", shape=[1, 1]).contents.int_contents.append(3)
    request.inputs.add(name="seed", datatype="UINT64", shape=[1]).contents.uint64_contents.append(2**63)
    request.inputs.add(name="exclude_input_in_output", datatype="BOOL", shape=[1]).contents.bool_contents.append(True)
    request.outputs.add(name="text_output")
    assert list(infer(request, ["delta", 0, "a", [6]], ["finished", 0]).raw_output_contents) == [b"\1\0\0\0a"]


def test_the_last_piece_says_that_it_is() -> None:
    request = text_request(parameters={"stream": True})
    together = converse(
        request,
        [["started", "demo", [1]]],
        [["delta", 0, "a", [6]]],
        [["delta", 0, "b", [7]], ["delta", 0, "c", []], ["finished", 0]],
    )
    assert texts(together) == [(b"a", False), (b"bc", True)]
    apart = converse(request, [["started", "demo", [1]]], [["delta", 0, "a", [6]]], [["finished", 0]])
    assert texts(apart) == [(b"a", False), (b"", True)]


def test_several_choices() -> None:
    request = text_request(parameters={"stream": True, "n": 2})
    responses = converse(
        request,
        [["started", "demo", [1]]],
        [["delta", 0, "a", [6]], ["finished", 0], ["delta", 1, "b", [7]]],
        [["finished", 1]],
    )
    finals = [each.infer_response.parameters["triton_final_response"].bool_param for each in responses]
    assert finals == [False, False, True]


def test_one_response_without_stream() -> None:
    request = text_request(id="3", parameters={"triton_enable_empty_final_response": True})
    responses = converse(request, [["started", "demo", [1]], ["delta", 0, "a", [6]]], [["finished", 0]])
    assert texts(responses) == [(b"hia", True)]
    assert responses[0].infer_response.id == "3"


def test_an_error_on_the_way() -> None:
    request = text_request(id="9", parameters={"stream": True})
    started = [["started", "demo", [1]], ["delta", 0, "a", [6]]]
    first, failure = converse(request, started, error=EngineFailure("The engine stopped."))
    assert not first.error_message
    assert failure.error_message == "The engine stopped."
    assert failure.infer_response.id == "9"
    assert failure.infer_response.parameters["triton_final_response"].bool_param


def test_an_error_before_it() -> None:
    operation = PROCEDURES["ModelStreamInfer"]
    assert isinstance(operation, Converse)
    error = InvalidParameter("n", "`n` is wrong.")
    for body, id in ((text_request(id="4").SerializeToString(), "4"), (b"\xff", "")):
        message = service_pb2.ModelStreamInferResponse.FromString(
            operation.refuse(raw_request("POST", "/", body), error)
        )
        assert (message.error_message, message.infer_response.id) == ("`n` is wrong.", id)
    assert operation.ends_on_error(raw_request("POST", "/", headers={"triton_grpc_error": "true"}))
    assert not operation.ends_on_error(raw_request("POST", "/"))


def _both_contents() -> Any:
    request = text_request()
    request.inputs[0].contents.bytes_contents.append(b"x")
    return request


def _no_contents() -> Any:
    request = text_request()
    del request.raw_input_contents[:]
    return request


def _two_outputs() -> Any:
    request = text_request()
    request.outputs.add(name="text_output")
    request.outputs.add(name="text_output")
    return request


def _classification() -> Any:
    request = text_request()
    request.outputs.add(name="text_output").parameters["classification"].int64_param = 3
    return request


def _shared_memory() -> Any:
    request = text_request()
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"
    return request


def _too_many_contents() -> Any:
    request = text_request()
    request.raw_input_contents.append(b"")
    return request


def _shape(shape: list[int]) -> Any:
    request = text_request()
    request.inputs[0].shape[:] = shape
    return request


@pytest.mark.parametrize(
    ("request_message", "sentence"),
    [
        (_both_contents(), "contents field must not be specified when using raw_input_contents"),
        (_no_contents(), "unable to find data for input tensor 'text_input' for model 'demo' in request"),
        (_two_outputs(), "output 'text_output' already exists in request"),
        (_classification(), "`classification` of output 'text_output' is not supported"),
        (_shared_memory(), "`shared_memory_region` of input 'text_input' is not supported"),
        (_too_many_contents(), "expected 1 entries of raw_input_contents"),
        (_shape([2]), "expected 2 string elements"),
        (_shape([2**40]), "causes total element count to exceed maximum size of"),
        (_shape([-1]), "non-unsigned-integer"),
        (text_request(parameters={"triton_x": 1}), "Only the following keys starting with 'triton_' are allowed"),
        (text_request(parameters={"triton_enable_empty_final_response": 1}), "expect bool_param"),
        (text_request(parameters={"temperature": -1.0}), "`temperature` must be at least 0"),
        (text_request(parameters={"color": 1}), "Unknown parameter: `parameters.color`"),
        (text_request(model_version="3"), "version 3 is not found"),
    ],
)
def test_refusals(request_message: Any, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence.replace("(", r"\(")):
        infer(request_message)
