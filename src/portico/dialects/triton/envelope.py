"""Infer over HTTP: a JSON object, and after it the bytes of tensors in binary form.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from portico.core.dialect import RawRequest, Reply
from portico.core.errors import InvalidParameter, MalformedRequest, UnsupportedParameter
from portico.dialects import wire
from portico.dialects.triton import compression, ledgers, tensors
from portico.dialects.triton.fields import require_distinct_keys
from portico.dialects.triton.infer import InferRequest
from portico.dialects.triton.tensors import BYTES, DATATYPES, Tensor

_LENGTH_HEADER = "Inference-Header-Content-Length"
# There are fewer names than that for inputs, and for outputs.
_MAX_TENSORS = 256
_INPUT_PARAMETERS = frozenset({"binary_data_size"})
_OUTPUT_PARAMETERS = frozenset({"binary_data"})


class InputEntry(msgspec.Struct, forbid_unknown_fields=True):
    """An entry of `inputs`; without `data` its bytes follow the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Any = None


class OutputEntry(msgspec.Struct, forbid_unknown_fields=True):
    """An entry of `outputs`."""

    name: str
    parameters: dict[str, Any] = {}


class Body(msgspec.Struct):
    """The JSON object."""

    inputs: list[InputEntry]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[OutputEntry] | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """A request, and which outputs are answered in binary form: those named, or all where `binary` is None."""

    infer: InferRequest
    binary: frozenset[str] | None


def open_envelope(raw: RawRequest, body: Body, blob: bytes) -> Envelope:
    """Puts the JSON of an infer request and the bytes after it together.

    Raises:
        RequestError: they do not fit, or ask for what is not honoured.
    """
    model = raw.path_params["model"]
    inputs = _read_inputs(body.inputs, blob, raw, model)
    parameters = dict(body.parameters)
    is_binary = parameters.pop("binary_data_output", None) or False
    if not isinstance(is_binary, bool):
        raise InvalidParameter("parameters.binary_data_output", "`parameters.binary_data_output` must be a boolean.")
    names = None if body.outputs is None else tuple(entry.name for entry in body.outputs)
    binary = frozenset(entry.name for entry in body.outputs or () if _is_binary(entry))
    infer = InferRequest(model, raw.path_params.get("version", ""), body.id, parameters, inputs, names)
    return Envelope(infer, None if is_binary and names is None else binary)


def open_raw(raw: RawRequest, blob: bytes) -> Envelope:
    """A request whose whole body is the one input that the model must have."""
    prompt = Tensor("text_input", BYTES, (1,), (tensors.decode_text("text_input", blob),))
    infer = InferRequest(raw.path_params["model"], raw.path_params.get("version", ""), "", {}, (prompt,), None)
    return Envelope(infer, None)


def split_body(raw: RawRequest) -> tuple[bytes | None, bytes]:
    """The JSON and what follows it; the JSON is None where the whole body is one tensor.

    Raises:
        RequestError: the body cannot be decompressed, or the length of its JSON is not right.
    """
    body = compression.decompress(raw.body, raw.headers, raw.limits.max_body_size)
    stated = raw.headers.get(_LENGTH_HEADER.lower())
    if stated is None:
        return body, b""
    if not (stated.isascii() and stated.isdigit()) or len(stated) > 18 or int(stated) > len(body):
        raise MalformedRequest(f"{_LENGTH_HEADER} must be between 0 and {len(body)}, the length of the body.")
    length = int(stated)
    return (body[:length] if length else None), body[length:]


def read_head(head: bytes) -> Body:
    """The JSON object of a request.

    Raises:
        RequestError: it is none, or has other fields than it should.
    """
    fields = wire.decode_object(head)
    ledgers.INFER.check(fields)
    for name in ("inputs", "outputs"):
        if isinstance(fields.get(name), list):
            wire.require_few(name, fields[name], _MAX_TENSORS, "tensors")
    require_distinct_keys(head)
    body = wire.convert({name: value for name, value in fields.items() if value is not None}, Body)
    _require_distinct([entry.name for entry in body.outputs or ()])
    return body


def reply(
    outputs: Sequence[Tensor], binary: frozenset[str] | None, head: Mapping[str, Any], headers: Mapping[str, str]
) -> Reply:
    """The answer: `head` and the tensors, those in `binary` after the JSON, compressed if the client likes."""
    entries: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for tensor in outputs:
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if binary is None or tensor.name in binary:
            blobs.append(tensors.to_bytes(tensor))
            entry["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            entry["data"] = tensor.values
        entries.append(entry)
    encoded = wire.encode_json({**head, "outputs": entries})
    blob = b"".join(blobs)
    body, encoding = compression.compress(encoded + blob, headers)
    extra = {} if encoding == compression.IDENTITY else {"Content-Encoding": encoding}
    if not blob:
        return Reply(200, body, headers=extra)
    return Reply(200, body, "application/octet-stream", {**extra, _LENGTH_HEADER: str(len(encoded))})


def _read_inputs(entries: Sequence[InputEntry], blob: bytes, raw: RawRequest, model: str) -> tuple[Tensor, ...]:
    inputs = []
    position = 0
    for entry in entries:
        size = _binary_size(entry)
        count = check_entry(entry, raw.limits.max_body_size)
        if size is None:
            inputs.append(tensors.from_json(entry.name, entry.datatype, tuple(entry.shape), count, entry.data))
            continue
        part = blob[position : position + size]
        if len(part) < size:
            raise InvalidParameter(
                entry.name,
                f"unexpected size for input '{entry.name}', expecting {size - len(part)} additional bytes for model "
                f"'{model}'",
            )
        position += size
        inputs.append(tensors.from_bytes(entry.name, entry.datatype, tuple(entry.shape), count, part, model))
    if position < len(blob):
        raise InvalidParameter("inputs", f"unexpected additional input data for model '{model}'")
    return tuple(inputs)


def check_entry(entry: InputEntry, max_elements: int) -> int:
    """How many elements an input has.

    Raises:
        InvalidParameter: its datatype is not known, or its shape is too large or negative.
    """
    if entry.datatype not in DATATYPES:
        raise InvalidParameter(entry.name, f"The datatype '{entry.datatype}' of input '{entry.name}' is not known.")
    return tensors.count_elements(entry.name, entry.shape, max_elements)


def _binary_size(entry: InputEntry) -> int | None:
    """How many bytes of the input follow the JSON; None: it stands in the JSON."""
    _require_known(entry.name, "input", entry.parameters, _INPUT_PARAMETERS)
    size = entry.parameters.get("binary_data_size")
    given = [text for text, value in (("'data'", entry.data), ("'binary_data_size'", size)) if value is not None]
    if len(given) != 1:
        found = f"But set {' '.join(given)}" if given else "But no field is set"
        raise InvalidParameter(
            entry.name,
            "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
            f"'shared_memory_region' in 'parameters'. {found}",
        )
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise InvalidParameter(entry.name, f"`binary_data_size` of input '{entry.name}' must be a whole number.")
    return size


def _is_binary(entry: OutputEntry) -> bool:
    _require_known(entry.name, "output", entry.parameters, _OUTPUT_PARAMETERS)
    is_binary = entry.parameters.get("binary_data", False)
    if not isinstance(is_binary, bool):
        raise InvalidParameter(entry.name, f"`binary_data` of output '{entry.name}' must be a boolean.")
    return is_binary


def _require_known(name: str, kind: str, parameters: Mapping[str, Any], known: frozenset[str]) -> None:
    for each in parameters:
        if each.startswith("shared_memory"):
            raise UnsupportedParameter(each, f"`{each}` of {kind} '{name}' is not supported: no memory is shared.")
        if each not in known:
            raise UnsupportedParameter(each, f"Unknown parameter `{each}` of {kind} '{name}'.")


def _require_distinct(names: Sequence[str]) -> None:
    seen = set()
    for name in names:
        if name in seen:
            raise InvalidParameter(name, f"output '{name}' already exists in request")
        seen.add(name)
