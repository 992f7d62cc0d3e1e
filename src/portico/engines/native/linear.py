"""Matrix products whose rows do not depend on how many other rows there are.

A GEMM library picks another kernel, and so another order of summation, for another number of rows: the same token
would get slightly different logits alone and in a batch, and greedy text would differ now and then. Here every
product of floating-point numbers on a CPU runs with a number of rows for which this machine was seen to give the same
bits as for `_REFERENCE_ROWS` rows. oneDNN's kernels over packed weights do so for nearly every number, and are the
faster ones. Products of quantised numbers are exact for any number. With float16 FBGEMM widens the weights as it reads
them: the sums are of float32, and few rows cost half of what they do with float32 weights.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from portico.engines.native.quantization import Product, compute_dtype, quantized, quantized_product

_REFERENCE_ROWS = 16
_SIZES = (512, 256, 128, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
_SMALL_SIZES = tuple(size for size in reversed(_SIZES) if size <= 64)
_TAIL = 8
# Numbers that are packed at once: FBGEMM wants them as float32, which a whole output head is not to be for a moment.
_NUMBERS_AT_ONCE = 1 << 26


def padded(num_rows: int) -> int:
    """The number of rows to evaluate instead of `num_rows`, so that few products are needed for them."""
    if num_rows <= _SMALL_SIZES[-1]:
        return next(size for size in _SMALL_SIZES if size >= num_rows)
    return -(-num_rows // _TAIL) * _TAIL


class Linear:
    """`x @ weight.T + bias`, with numbers of rows out of `sizes` only, or with any if there are none.

    On a GPU, which has none, rows may depend on their number in the last bits.
    """

    def __init__(self, product: Product, sizes: tuple[int, ...]) -> None:
        self._product = product
        self._sizes = sizes

    def __call__(self, x: Tensor) -> Tensor:
        """[rows, in] to [rows, out]."""
        num_rows = x.shape[0]
        if not self._sizes or num_rows in self._sizes:
            return self._product(x)
        parts: list[Tensor] = []
        start = 0
        while start < num_rows:
            missing = num_rows - start
            size = next((size for size in self._sizes if size <= missing), 0)
            if size:
                parts.append(self._product(x[start : start + size]))
                start += size
            else:
                rows = functional.pad(x[start:], (0, 0, 0, self._sizes[-1] - missing))
                parts.append(self._product(rows)[:missing])
                start = num_rows
        return parts[0] if len(parts) == 1 else torch.cat(parts)


class LinearFactory:
    """Makes `Linear`s and remembers which numbers of rows are good for weights of one shape.

    With `quantizes` every product is one of eight-bit numbers.
    """

    def __init__(self, quantizes: bool = False) -> None:
        self._quantizes = quantizes
        self._sizes: dict[tuple[int, ...], tuple[int, ...]] = {}

    @torch.inference_mode()
    def linear(self, weight: Tensor, bias: Tensor | None = None, max_num_rows: int = _SIZES[0]) -> Linear:
        """Takes weight [out, in], which may be dropped afterwards, and bias [out]; tries up to `max_num_rows`."""
        if self._quantizes:
            matrix = weight if weight.dtype is torch.int8 else quantized(weight)
            return Linear(quantized_product(matrix, bias), ())
        if weight.device.type != "cpu":
            return Linear(lambda x: functional.linear(x, weight, bias), ())
        product = _half_product(weight, bias) if weight.dtype is torch.float16 else _packed_product(weight, bias)
        shape = tuple(weight.shape)
        if shape not in self._sizes:
            self._sizes[shape] = equivalent_sizes(product, weight, max_num_rows)
        return Linear(product, self._sizes[shape])


def equivalent_sizes(product: Product, weight: Tensor, max_num_rows: int) -> tuple[int, ...]:
    """Numbers of rows, greatest first, for which a product gives the same bits as for `_REFERENCE_ROWS`."""
    generator = torch.Generator().manual_seed(0)
    sizes = [size for size in _SIZES if size <= max_num_rows]
    x = torch.randn(sizes[0], weight.shape[1], generator=generator).to(compute_dtype(weight.dtype))
    expected = product(x[:_REFERENCE_ROWS])
    good: list[int] = []
    for size in sizes:
        num_common = min(size, _REFERENCE_ROWS)
        is_same = torch.equal(product(x[:size])[:num_common], expected[:num_common])
        # Rows at the end stand for the other places that a row can have.
        moved = product(x[:size].roll(size - num_common, 0))[-num_common:]
        if is_same and torch.equal(moved, expected[:num_common]):
            good.append(size)
    return tuple(good) or (_REFERENCE_ROWS,)


def _packed_product(weight: Tensor, bias: Tensor | None) -> Product:
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, _REFERENCE_ROWS)
        torch.ops.mkldnn._linear_pointwise(weight[:1], packed, bias, "none", [], "")
    except (RuntimeError, AttributeError):
        # This build or this processor has no oneDNN kernels for the number format.
        return lambda x: functional.linear(x, weight, bias)

    def product(x: Tensor) -> Tensor:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
        return result

    return product


def _half_product(weight: Tensor, bias: Tensor | None) -> Product:
    num_rows = max(1, _NUMBERS_AT_ONCE // weight.shape[1])
    parts = [torch.ops.quantized.linear_prepack_fp16(rows.float(), None) for rows in torch.split(weight, num_rows)]

    def product(x: Tensor) -> Tensor:
        outputs = [torch.ops.quantized.linear_dynamic_fp16(x, part) for part in parts]
        y = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)
        return y if bias is None else y.add_(bias)

    return product
