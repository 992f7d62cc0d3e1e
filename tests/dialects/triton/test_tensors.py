"""Tensors and their bytes, against the official client's own routines."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
import tritonclient.utils
from hypothesis import given
from hypothesis import strategies as st

from portico.core.errors import InvalidParameter
from portico.dialects.triton.tensors import DATATYPES, Tensor, count_elements, from_bytes, from_json, to_bytes

_BYTES_OF_NUMBERS = sorted(DATATYPES - {"BYTES", "BF16"})


@given(st.lists(st.text(max_size=5), max_size=5))
def test_strings_as_the_client_writes_them(values: list[str]) -> None:
    tensor = Tensor("x", "BYTES", (len(values),), tuple(values))
    array = np.array([value.encode() for value in values], dtype=object)
    serialized = tritonclient.utils.serialize_byte_tensor(array)
    expected = serialized.item() if serialized.size else b""
    assert to_bytes(tensor) == expected
    assert from_bytes("x", "BYTES", tensor.shape, len(values), expected, "m") == tensor


@pytest.mark.parametrize("datatype", _BYTES_OF_NUMBERS)
def test_numbers_as_the_client_writes_them(datatype: str) -> None:
    array: Any = np.array([0, 1, 1], dtype=tritonclient.utils.triton_to_np_dtype(datatype))
    tensor = from_bytes("x", datatype, (3,), 3, array.tobytes(), "m")
    assert tensor.values == tuple(array.tolist())
    assert to_bytes(tensor) == array.tobytes()


def test_brain_floats() -> None:
    raw = b"".join(struct.pack("<f", value)[2:] for value in (1.5, -2.0))
    assert from_bytes("x", "BF16", (2,), 2, raw, "m").values == (1.5, -2.0)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "expected 1 string elements for inference input 'x' for model 'm', got 0"),
        (b"\1\0", "expected 1 string elements"),
        (b"\5\0\0\0ab", "expecting string of length 5 but only 2 bytes available"),
        (b"\xff\xff\xff\xffab", "expecting string of length 4294967295"),
        (b"\1\0\0\0a\1\0\0\0b", "unexpected number of string elements 2"),
        (b"\1\0\0\0\xff", "not UTF-8"),
    ],
)
def test_broken_strings(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        from_bytes("x", "BYTES", (1,), 1, raw, "m")


def test_numbers_of_another_size() -> None:
    with pytest.raises(InvalidParameter, match="Expected 8, got 7"):
        from_bytes("x", "INT32", (2,), 2, b"\0" * 7, "m")


@given(st.binary(max_size=24), st.integers(0, 4))
def test_any_bytes(raw: bytes, count: int) -> None:
    for datatype in DATATYPES:
        try:
            tensor = from_bytes("x", datatype, (count,), count, raw, "m")
        except InvalidParameter:
            continue
        assert len(tensor.values) == count


@pytest.mark.parametrize(("shape", "count"), [((), 1), ((1, 1), 1), ((2, 3), 6), ((0,), 0), ((0, 2**62), 0)])
def test_elements_of_a_shape(shape: tuple[int, ...], count: int) -> None:
    assert count_elements("x", shape, 10) == count


def test_integers_at_their_limits() -> None:
    for datatype, letter in (("INT8", "b"), ("UINT16", "H"), ("INT64", "q"), ("UINT64", "Q")):
        bits = 8 * struct.calcsize(f"<{letter}")
        low, high = (0, 2**bits - 1) if letter.isupper() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        assert from_json("x", datatype, (2,), 2, [low, high]).values == (low, high)
        for value in (low - 1, high + 1, True, 1.0):
            with pytest.raises(InvalidParameter):
                from_json("x", datatype, (1,), 1, [value])
