"""Tensors as lists of plain values, and their bytes.

Source: the binary tensor data extension of the KServe v2 protocol
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from portico.core.errors import InvalidParameter

BYTES = "BYTES"
BOOL = "BOOL"
_BRAIN_FLOAT = "BF16"
# The letter of each datatype for the struct module; all are little-endian.
_LETTERS = {
    BOOL: "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
    _BRAIN_FLOAT: "H",
}
DATATYPES = frozenset({*_LETTERS, BYTES})
INTEGERS = frozenset(name for name in _LETTERS if "INT" in name)
FLOATS = frozenset({"FP16", "FP32", "FP64", _BRAIN_FLOAT})
_MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor; `values` are flat, row by row. Elements of BYTES are strings."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: tuple[Any, ...]


def count_elements(name: str, shape: Sequence[int], max_elements: int) -> int:
    """How many elements a shape has, before anything of that size is made.

    Raises:
        InvalidParameter: a dimension is negative, or there are too many elements.
    """
    if any(size < 0 for size in shape):
        raise InvalidParameter(
            name, "Unable to parse 'shape': attempt to access JSON non-unsigned-integer as unsigned-integer"
        )
    count = math.prod(shape)
    if count > max_elements:
        raise InvalidParameter(
            name,
            f"The shape {_show(shape)} of input '{name}' causes total element count to exceed maximum size of "
            f"{max_elements}",
        )
    return count


def from_json(name: str, datatype: str, shape: tuple[int, ...], count: int, data: Any) -> Tensor:
    """A tensor whose `data` stands in JSON, flat or nested.

    Raises:
        InvalidParameter: elements have another type than the datatype's, or are not as many as the shape says.
    """
    if datatype in ("FP16", _BRAIN_FLOAT):
        raise InvalidParameter(
            name, f"sending {datatype} data via JSON is not supported. Please use the binary data format for '{name}'"
        )
    values = tuple(_check_element(name, datatype, value) for value in _flatten(name, data))
    if len(values) < count:
        raise InvalidParameter(name, "Failed to parse 'data' field: shape does not match true shape")
    if len(values) > count:
        raise InvalidParameter(name, "Unable to parse 'data': Shape does not match true shape of 'data' field")
    return Tensor(name, datatype, shape, values)


def from_bytes(name: str, datatype: str, shape: tuple[int, ...], count: int, raw: bytes, model: str) -> Tensor:
    """A tensor in its binary form; `model` is named in errors.

    Raises:
        InvalidParameter: there are not as many bytes as the shape and the datatype say, or text is not UTF-8.
    """
    if datatype == BYTES:
        return Tensor(name, datatype, shape, _split_strings(name, count, raw, model))
    letter = _LETTERS[datatype]
    expected = count * struct.calcsize("<" + letter)
    if len(raw) != expected:
        raise InvalidParameter(
            name,
            f"input byte size mismatch for input '{name}' for model '{model}'. Expected {expected}, got {len(raw)}",
        )
    values = struct.unpack(f"<{count}{letter}", raw)
    if datatype == _BRAIN_FLOAT:
        # The upper half of a single-precision float.
        values = struct.unpack(f"<{count}f", struct.pack(f"<{count}I", *(value << 16 for value in values)))
    return Tensor(name, datatype, shape, values)


def to_bytes(tensor: Tensor) -> bytes:
    """The binary form of a tensor."""
    if tensor.datatype == BYTES:
        encoded = [str(value).encode() for value in tensor.values]
        return b"".join(struct.pack("<I", len(each)) + each for each in encoded)
    return struct.pack(f"<{len(tensor.values)}{_LETTERS[tensor.datatype]}", *tensor.values)


def decode_text(name: str, raw: bytes) -> str:
    """An element of BYTES as text.

    Raises:
        InvalidParameter: it is not UTF-8.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidParameter(name, f"The bytes of input '{name}' are not UTF-8 text.") from None


def _split_strings(name: str, count: int, raw: bytes, model: str) -> tuple[str, ...]:
    values: list[str] = []
    position = 0
    while position < len(raw):
        if len(values) == count or position + 4 > len(raw):
            break
        (size,) = struct.unpack_from("<I", raw, position)
        position += 4
        if position + size > len(raw):
            raise InvalidParameter(
                name,
                f"incomplete string data for inference input '{name}' for model '{model}', expecting string of length "
                f"{size} but only {len(raw) - position} bytes available",
            )
        values.append(decode_text(name, raw[position : position + size]))
        position += size
    if position < len(raw) and len(values) == count:
        raise InvalidParameter(
            name, f"unexpected number of string elements {count + 1} for inference input '{name}', expecting {count}"
        )
    if position < len(raw) or len(values) < count:
        raise InvalidParameter(
            name,
            f"expected {count} string elements for inference input '{name}' for model '{model}', got {len(values)}",
        )
    return tuple(values)


def _flatten(name: str, data: Any) -> Iterable[Any]:
    """The elements of nested lists; without recursion, since clients choose the depth."""
    if not isinstance(data, list):
        data = [data]
    pending = [iter(data)]
    while pending:
        for value in pending[-1]:
            if isinstance(value, list):
                if len(pending) >= _MAX_DEPTH:
                    raise InvalidParameter(name, f"JSON nesting depth exceeds maximum allowed limit ({_MAX_DEPTH})")
                pending.append(iter(value))
                break
            yield value
        else:
            pending.pop()


def _check_element(name: str, datatype: str, value: Any) -> Any:
    is_bool = isinstance(value, bool)
    if datatype == BYTES:
        if not isinstance(value, str):
            raise InvalidParameter(
                name, "Unable to parse JSON bytes array: attempt to access JSON non-string as string"
            )
    elif datatype == BOOL:
        if not is_bool:
            raise InvalidParameter(name, "Unable to parse 'data': attempt to access JSON non-boolean as boolean")
    elif datatype in INTEGERS:
        if is_bool or not isinstance(value, int) or not _fits(datatype, value):
            raise InvalidParameter(name, f"Unable to parse 'data': {value!r} is no {datatype}")
    elif is_bool or not isinstance(value, int | float):
        raise InvalidParameter(name, "Unable to parse 'data': attempt to access JSON non-number as number")
    return value


def _fits(datatype: str, value: int) -> bool:
    num_bits = 8 * struct.calcsize("<" + _LETTERS[datatype])
    if datatype.startswith("U"):
        return bool(0 <= value < 1 << num_bits)
    return bool(-(1 << num_bits - 1) <= value < 1 << num_bits - 1)


def _show(shape: Sequence[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def unexpected_shape(name: str, model: str, shape: Sequence[int]) -> InvalidParameter:
    """The refusal of several elements where there is room for one."""
    return InvalidParameter(
        name, f"unexpected shape for input '{name}' for model '{model}'. Expected [1], got {_show(shape)}. "
    )
