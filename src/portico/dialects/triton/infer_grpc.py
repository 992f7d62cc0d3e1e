"""Infer messages of gRPC: one answer for one message, or streams both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portico.core.dialect import Exchange, RawRequest, Reply, StreamEncoder
from portico.core.errors import InvalidParameter, MalformedRequest, PorticoError, UnsupportedParameter
from portico.core.events import Event, Result
from portico.core.request import GenerationRequest
from portico.core.rpc import MessageEncoder, MessageExchange
from portico.dialects.triton import errors, tensors
from portico.dialects.triton.decode import Decoder
from portico.dialects.triton.encode import EventStream
from portico.dialects.triton.infer import EMPTY_FINAL, InferRequest, decode_inference
from portico.dialects.triton.layout import Layout
from portico.dialects.triton.messages import Messages
from portico.dialects.triton.outputs import build_outputs
from portico.dialects.triton.responses import Response, whole_response
from portico.dialects.triton.tensors import DATATYPES, FLOATS, INTEGERS, Tensor

_FINAL = "triton_final_response"
# Where the typed contents of a datatype stand.
_CONTENTS = {"BOOL": "bool_contents", "BYTES": "bytes_contents", "FP32": "fp32_contents", "FP64": "fp64_contents"} | {
    name: ("u" if name.startswith("U") else "") + ("int64_contents" if name.endswith("64") else "int_contents")
    for name in INTEGERS
}


class InferMessages:
    """Reads and writes infer messages."""

    def __init__(self, decoder: Decoder, messages: Messages) -> None:
        self._decoder = decoder
        self._messages = messages

    def decode_unary(self, raw: RawRequest) -> Exchange:
        """Reads the message of ModelInfer, which is answered with all responses as one.

        Raises:
            RequestError: it is malformed, or asks for what is not honoured.
        """
        infer = self._read(raw)
        inference = decode_inference(self._decoder, raw, infer, stream=False)
        return UnaryExchange(inference.request, inference.layout, self._messages)

    def decode_streamed(self, raw: RawRequest) -> MessageExchange:
        """Reads one message of ModelStreamInfer.

        Raises:
            RequestError: it is malformed, or asks for what is not honoured.
        """
        infer = self._read(raw)
        inference = decode_inference(self._decoder, raw, infer, stream=True)
        return StreamedExchange(inference.request, inference.layout, self._messages)

    def refuse_streamed(self, raw: RawRequest, error: PorticoError) -> bytes:
        """The error as a message of the stream, with the id of the request if it can be read."""
        try:
            id = self._messages.decode("ModelInferRequest", raw.body).id
        except MalformedRequest:
            id = ""
        return _failure(self._messages, error, id=id)

    def ends_on_error(self, raw: RawRequest) -> bool:
        """Whether the client has asked for the status of gRPC in place of messages about errors."""
        return raw.headers.get("triton_grpc_error", "").lower() == "true"

    def _read(self, raw: RawRequest) -> InferRequest:
        message = self._messages.decode("ModelInferRequest", raw.body)
        outputs = tuple(_read_output(each) for each in message.outputs)
        for position, name in enumerate(outputs):
            if name in outputs[:position]:
                raise InvalidParameter(name, f"output '{name}' already exists in request")
        return InferRequest(
            model=message.model_name,
            version=message.model_version,
            id=message.id,
            parameters=_read_parameters(message.parameters),
            inputs=_read_inputs(message, raw.limits.max_body_size),
            outputs=outputs or None,
        )


@dataclass(frozen=True, slots=True)
class UnaryExchange:
    """One message and how it is answered."""

    request: GenerationRequest
    layout: Layout
    messages: Messages

    def reply(self, result: Result) -> Reply:
        """All outputs in one message."""
        message = _response(self.messages, self.layout, whole_response(result, self.layout.prefix))
        return Reply(200, message.SerializeToString(), "application/grpc")

    def encoder(self) -> StreamEncoder:
        """The procedure is never streamed; its responses would be those of `generate_stream`."""
        return EventStream(self.request.num_choices, self.layout)


@dataclass(frozen=True, slots=True)
class StreamedExchange:
    """One message of a stream and how it is answered."""

    request: GenerationRequest
    layout: Layout
    messages: Messages

    def encoder(self) -> MessageEncoder:
        """Messages for the pieces of the answer, or one for all of it."""
        return ResponseEncoder(self.request, self.layout, self.messages)


class ResponseEncoder:
    """A message for each response; the last one says that it is, so that no empty one follows."""

    def __init__(self, request: GenerationRequest, layout: Layout, messages: Messages) -> None:
        self._layout = layout
        self._messages = messages
        self._model = request.model or ""
        self._reader = layout.reader(request.num_choices, tells_end=True)

    def feed(self, events: Sequence[Event]) -> list[bytes]:
        """The messages for what happened at the same time.

        What ends a choice mostly comes together with its last piece, so waiting until the end of each step is enough.
        """
        responses = [response for event in events for response in self._reader.take(event)]
        responses += self._reader.flush()
        return [self._encode(response) for response in responses]

    def fail(self, error: PorticoError) -> list[bytes]:
        """The error as the last message of the request."""
        layout = self._layout
        parameters = {_FINAL: self._messages.make("InferParameter", bool_param=True)}
        failure = _failure(
            self._messages,
            error,
            id=layout.id,
            model_name=self._model,
            model_version=layout.model_version or "",
            parameters=parameters,
        )
        return [failure]

    def _encode(self, response: Response) -> bytes:
        message = _response(self._messages, self._layout, response)
        message.parameters[_FINAL].bool_param = response.is_final
        streamed = self._messages.make("ModelStreamInferResponse", infer_response=message)
        return bytes(streamed.SerializeToString())


def _response(messages: Messages, layout: Layout, response: Response) -> Any:
    """A response whose tensors are all in binary form: clients read nothing else."""
    outputs = build_outputs(layout.outputs, response.num_input_tokens, response.parts)
    return messages.make(
        "ModelInferResponse",
        model_name=response.model,
        model_version=layout.model_version or "",
        id=layout.id,
        outputs=[{"name": each.name, "datatype": each.datatype, "shape": each.shape} for each in outputs],
        raw_output_contents=[tensors.to_bytes(each) for each in outputs],
    )


def _failure(messages: Messages, error: PorticoError, **fields: Any) -> bytes:
    response = messages.make("ModelInferResponse", **fields)
    message = messages.make("ModelStreamInferResponse", error_message=errors.describe(error), infer_response=response)
    return bytes(message.SerializeToString())


def _read_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for name, parameter in parameters.items():
        kind = parameter.WhichOneof("choice")
        if kind is None:
            raise InvalidParameter(name, f"The parameter '{name}' has no value.")
        values[name] = getattr(parameter, kind)
    if not isinstance(values.pop(EMPTY_FINAL, False), bool):
        raise InvalidParameter(EMPTY_FINAL, f"expect bool_param for parameter '{EMPTY_FINAL}'")
    for name in values:
        if name.startswith("triton_"):
            raise InvalidParameter(
                name,
                "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following keys "
                f"starting with 'triton_' are allowed: {EMPTY_FINAL}",
            )
    return values


def _read_output(entry: Any) -> str:
    for name in entry.parameters:
        if name != "binary_data":
            raise UnsupportedParameter(name, f"`{name}` of output '{entry.name}' is not supported.")
    return str(entry.name)


def _read_inputs(message: Any, max_elements: int) -> tuple[Tensor, ...]:
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InvalidParameter(
            "raw_input_contents",
            f"expected {len(message.inputs)} entries of raw_input_contents for model '{message.model_name}', got "
            f"{len(raw)}",
        )
    return tuple(
        _read_input(entry, raw[position] if raw else None, message.model_name, max_elements)
        for position, entry in enumerate(message.inputs)
    )


def _read_input(entry: Any, raw: bytes | None, model: str, max_elements: int) -> Tensor:
    name, datatype, shape = entry.name, entry.datatype, tuple(entry.shape)
    for each in entry.parameters:
        raise UnsupportedParameter(each, f"`{each}` of input '{name}' is not supported.")
    if datatype not in DATATYPES:
        raise InvalidParameter(name, f"The datatype '{datatype}' of input '{name}' is not known.")
    count = tensors.count_elements(name, shape, max_elements)
    if raw is not None:
        if entry.HasField("contents"):
            raise InvalidParameter(
                name,
                f"contents field must not be specified when using raw_input_contents for '{name}' for model '{model}'",
            )
        return tensors.from_bytes(name, datatype, shape, count, raw, model)
    if not entry.HasField("contents") or datatype in FLOATS - _CONTENTS.keys():
        raise InvalidParameter(name, f"unable to find data for input tensor '{name}' for model '{model}' in request.")
    values = getattr(entry.contents, _CONTENTS[datatype])
    if len(values) != count:
        raise InvalidParameter(
            name, f"expected {count} elements for inference input '{name}' for model '{model}', got {len(values)}"
        )
    if datatype == tensors.BYTES:
        values = [tensors.decode_text(name, each) for each in values]
    return Tensor(name, datatype, shape, tuple(values))
