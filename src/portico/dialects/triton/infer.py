"""Infer requests, in whatever form they came, to canonical ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from portico.core.dialect import RawRequest
from portico.core.errors import InvalidParameter, UnsupportedParameter
from portico.core.request import GenerationRequest, TextPrompt
from portico.dialects.triton import ledgers
from portico.dialects.triton.decode import Decoder, require_version
from portico.dialects.triton.fields import Given, Place, gather, spread_sampling
from portico.dialects.triton.layout import Layout
from portico.dialects.triton.outputs import ALL_OUTPUTS
from portico.dialects.triton.schema import FLAGS, LISTS, SECOND_NAMES, TEXTS
from portico.dialects.triton.tensors import BOOL, BYTES, Tensor, unexpected_shape

EMPTY_FINAL = "triton_enable_empty_final_response"
_RESERVED = "triton_"
_KNOWN_TENSORS = frozenset(entry.field for entry in ledgers.INFER_TENSORS.entries)


@dataclass(frozen=True, slots=True)
class InferRequest:
    """The request of HTTP and of gRPC alike; `outputs` None are those that the fields ask for."""

    model: str
    version: str
    id: str
    parameters: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Inference:
    """What to generate, and how the answer is laid out."""

    request: GenerationRequest
    layout: Layout


def decode_inference(decoder: Decoder, raw: RawRequest, infer: InferRequest, *, stream: bool) -> Inference:
    """Reads the tensors and parameters of a text request.

    Without `stream` all responses are given as one, where the original refuses models that give several.

    Raises:
        RequestError: a field is out of range or not honoured.
    """
    given = gather_infer(infer)
    fields = given.fields
    id = infer.id or decoder.own_id(raw)
    layout = decoder.build_layout(given, id, infer.version, is_incremental=fields.stream)
    if infer.outputs is not None:
        layout = replace(layout, outputs=_order(infer.outputs))
    prompt = TextPrompt(fields.text_input, add_special_tokens=True)
    return Inference(decoder.build_request(raw, given, infer.model, layout, prompt, stream=stream), layout)


def gather_infer(infer: InferRequest) -> Given:
    """The fields of a request from its tensors and parameters.

    Raises:
        RequestError: a field is missing, given twice, has a wrong type or is not honoured.
    """
    require_version(infer.model, infer.version)
    for name in infer.parameters:
        if name.startswith(_RESERVED):
            raise InvalidParameter(
                name,
                "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified.",
            )
    for name in infer.outputs or ():
        if name not in ALL_OUTPUTS:
            raise UnsupportedParameter(name, f"unexpected inference output '{name}' for model '{infer.model}'")
    return gather(_spread(infer), infer.model)


def _spread(infer: InferRequest) -> Iterator[Place]:
    tensors: dict[str, Any] = {}
    for tensor in infer.inputs:
        if tensor.name in tensors:
            raise InvalidParameter(tensor.name, f"input '{tensor.name}' already exists in request")
        tensors[tensor.name] = _read_value(tensor, infer.model)
    yield Place(ledgers.INFER_TENSORS, tensors)
    yield Place(ledgers.INFER_FIELDS, infer.parameters)
    for fields in (tensors, infer.parameters):
        yield from spread_sampling(fields, ledgers.GENERATE)


def _read_value(tensor: Tensor, model: str) -> Any:
    """The value of an input: a list where the field is one, else the one element."""
    name = tensor.name
    if name not in _KNOWN_TENSORS:
        raise UnsupportedParameter(name, f"unexpected inference input '{name}' for model '{model}'")
    field = SECOND_NAMES.get(name, name)
    _check_datatype(tensor, field, model)
    if len(tensor.values) == 1:
        return tensor.values[0] if field not in LISTS else list(tensor.values)
    if field in LISTS or field.startswith("embedding_bias"):
        return list(tensor.values)
    raise unexpected_shape(name, model, tensor.shape)


def _check_datatype(tensor: Tensor, field: str, model: str) -> None:
    """Numbers may be of any numeric type, or text: clients of several backends send different ones."""
    expected = BYTES if field in TEXTS else BOOL if field in FLAGS else None
    # One backend has a flag by the name of another's list.
    is_cancel = tensor.name == "stop" and tensor.datatype == BOOL
    if expected is not None and tensor.datatype != expected and not is_cancel:
        raise InvalidParameter(
            tensor.name,
            f"inference input '{tensor.name}' data-type is '{tensor.datatype}', but model '{model}' expects "
            f"'{expected}'",
        )


def _order(names: tuple[str, ...]) -> tuple[str, ...]:
    """The outputs that were asked for, in the model's order: clients expect the text first."""
    return tuple(name for name in ALL_OUTPUTS if name in names)
