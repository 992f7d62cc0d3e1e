"""The kernels' products against exact arithmetic, in every variant that this processor can run."""

from __future__ import annotations

import ctypes

import pytest
import torch
from torch import Tensor

from portico.engines.native.kernels.packing import PackedMatrix
from portico.engines.native.quantization import FOUR_BITS, dequantized, empty_matrix, fill, quantized, values_and_scales
from tests.engines.native.kernels.products import Product
from tests.engines.native.kernels.variants import find_variant

FORMATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "int8": torch.int8}
# [out, in], none of the last ones a multiple of anything that matters.
SHAPES = [(64, 32), (256, 896), (1, 4), (130, 67), (97, 13), (100, 64)]


def random_numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def quantized_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Signed bytes [rows, in] as float64, and scales [rows, 1], by the kernels' own rounding."""
    top = x.abs().amax(1, keepdim=True)
    return (x * (127.0 / top)).round().double(), (top / 127.0).double()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FORMATS)
def test_products_are_those_of_exact_arithmetic(library: ctypes.CDLL, name: str, shape: tuple[int, int]) -> None:
    weight, bias = random_numbers(*shape), random_numbers(shape[0], seed=1)
    x = random_numbers(21, shape[1], seed=2)
    product = Product(library, PackedMatrix(library, weight, FORMATS[name], bias), 2)
    found = product(x)
    product.close()
    if name == "int8":
        values, scales = values_and_scales(quantized(weight))
        rows, row_scales = quantized_rows(x)
        expected = (rows @ values.double().T) * scales.double() * row_scales + bias
    else:
        expected = x.double() @ weight.to(FORMATS[name]).double().T + bias
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4 if shape[1] > 100 else 1e-5)


def nibbles(weight: Tensor) -> Tensor:
    matrix = empty_matrix(weight.shape[0], weight.shape[1], FOUR_BITS)
    fill(matrix, weight)
    return matrix


@pytest.mark.parametrize("shape", [(64, 32), (256, 896), (130, 96)])
def test_products_of_four_bits_are_those_of_exact_arithmetic(library: ctypes.CDLL, shape: tuple[int, int]) -> None:
    matrix = nibbles(random_numbers(*shape))
    x = random_numbers(21, shape[1], seed=2)
    product = Product(library, PackedMatrix(library, matrix, FOUR_BITS), 2)
    rows, row_scales = quantized_rows(x)
    expected = rows @ dequantized(matrix).double().T * row_scales
    torch.testing.assert_close(product(x).double(), expected, rtol=1e-5, atol=1e-4 if shape[1] > 100 else 1e-5)
    alone = torch.cat([product(row.unsqueeze(0)) for row in x])
    for num_rows in (2, 3, 5, 7, 21):
        assert torch.equal(product(x[-num_rows:]), alone[-num_rows:])
    product.close()


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("num_inputs", [67, 128])
@pytest.mark.parametrize("name", FORMATS)
def test_a_row_has_the_same_bits_whatever_is_beside_it(
    library: ctypes.CDLL, name: str, num_inputs: int, num_threads: int
) -> None:
    x = random_numbers(120, num_inputs)
    product = Product(library, PackedMatrix(library, random_numbers(130, num_inputs), FORMATS[name]), num_threads)
    alone = torch.cat([product(row.unsqueeze(0)) for row in x])
    for num_rows in (2, 3, 5, 7, 8, 13, 16, 17, 32, 33, 97, 120):
        assert torch.equal(product(x[-num_rows:]), alone[-num_rows:])
    product.close()


@pytest.mark.parametrize("shape", [(3, 64), (256, 896), (200, 26_240)])
def test_kernels_of_bytes_have_the_same_bits(library: ctypes.CDLL, shape: tuple[int, int]) -> None:
    """Integers are added exactly. So many rows are several blocks, those of long sums smaller ones."""
    others = find_variant("avx2")
    assert others is not None
    weight, x = random_numbers(*shape), random_numbers(300, shape[1], seed=1)
    found = []
    for each in (library, others):
        product = Product(each, PackedMatrix(each, weight, torch.int8), 2)
        found.append(product(x))
        product.close()
    assert torch.equal(*found)


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("shape", [(1, 4), (130, 67), (1000, 128)])
@pytest.mark.parametrize("name", FORMATS)
def test_the_best_output_is_that_of_the_largest_product(
    library: ctypes.CDLL, name: str, shape: tuple[int, int], num_threads: int
) -> None:
    matrix = PackedMatrix(library, random_numbers(*shape), FORMATS[name], random_numbers(shape[0], seed=1) - 50)
    product = Product(library, matrix, num_threads)
    for num_rows in (1, 3, 7, 20, 100):
        x = random_numbers(num_rows, shape[1], seed=num_rows)
        assert product.best(x) == product(x).argmax(1).tolist()
    product.close()


def test_the_best_output_is_the_first_of_equals(library: ctypes.CDLL) -> None:
    weight = random_numbers(700, 64)
    weight[[5, 69, 70, 691]] = 10 * weight[5]
    product = Product(library, PackedMatrix(library, weight, torch.float32), 3)
    x = weight[5].repeat(9, 1)
    assert product.best(x) == [5] * 9
    product.close()


def test_what_is_no_number_is_not_the_best_output(library: ctypes.CDLL) -> None:
    weight = random_numbers(200, 64)
    weight[3] = torch.nan
    product = Product(library, PackedMatrix(library, weight, torch.float32), 2)
    x = random_numbers(7, 64, seed=1)
    assert product.best(x) == product(x).nan_to_num(-torch.inf).argmax(1).tolist()
    assert product.best(torch.full((2, 64), torch.nan)) == [0, 0]
    product.close()


def test_the_largest_bytes_are_not_clipped(library: ctypes.CDLL) -> None:
    """Two neighbouring products of 127 by 127 still fit 16 bits; with unsigned bytes they would not."""
    product = Product(library, PackedMatrix(library, torch.ones(64, 256), torch.int8), 1)
    found = product(torch.stack([torch.ones(256), -torch.ones(256)]))
    product.close()
    torch.testing.assert_close(found, torch.tensor([[256.0], [-256.0]]).expand(2, 64))


def test_rows_of_zeros_give_zeros(library: ctypes.CDLL) -> None:
    product = Product(library, PackedMatrix(library, random_numbers(64, 32), torch.int8), 1)
    assert torch.equal(product(torch.zeros(1, 32)), torch.zeros(1, 64))
    product.close()


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_rows_are_found_again(library: ctypes.CDLL, name: str) -> None:
    weight = random_numbers(130, 67)
    found = PackedMatrix(library, weight, FORMATS[name]).rows(torch.tensor([129, 0, 63, 64, 0]))
    assert torch.equal(found, weight.to(FORMATS[name]).float()[[129, 0, 63, 64, 0]])
