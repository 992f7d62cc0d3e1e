"""Matrix products whose rows do not depend on how many other rows there are.

A GEMM library picks another kernel, and so another order of summation, for another number of rows: the same token
would get slightly different logits alone and in a batch, and greedy text would differ now and then. Here every
product runs with a number of rows for which this machine was seen to give the same bits as for `ROW_QUANTUM` rows.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

ROW_QUANTUM = 16
_LADDER = (32, 48, 64, 128, 256, 512)


def padded(num_rows: int) -> int:
    """The next multiple of `ROW_QUANTUM`."""
    return -(-num_rows // ROW_QUANTUM) * ROW_QUANTUM


def pad_rows(x: Tensor) -> Tensor:
    """Zero rows at the end of [rows, width], up to a multiple of `ROW_QUANTUM`."""
    missing = padded(x.shape[0]) - x.shape[0]
    return functional.pad(x, (0, 0, 0, missing)) if missing else x


def equivalent_row_counts(weight: Tensor, max_num_rows: int = _LADDER[-1]) -> tuple[int, ...]:
    """Row counts, greatest first, with which this weight gives the same bits as with `ROW_QUANTUM` rows.

    Found by trying. The classes are ranges, so the search ends at the first count that differs.
    """
    if weight.device.type != "cpu":
        return ()
    generator = torch.Generator().manual_seed(0)
    sizes = [size for size in _LADDER if size <= max_num_rows]
    x = torch.randn(max_num_rows, weight.shape[1], generator=generator).to(weight.dtype)
    expected = functional.linear(x[:ROW_QUANTUM], weight)
    counts = [ROW_QUANTUM]
    for size in sizes:
        # The last rows of the product stand for every position that a row can have in it.
        shifted = functional.linear(x[:size].roll(size - ROW_QUANTUM, 0), weight)[-ROW_QUANTUM:]
        if not (
            torch.equal(functional.linear(x[:size], weight)[:ROW_QUANTUM], expected) and torch.equal(shifted, expected)
        ):
            break
        counts.append(size)
    return tuple(reversed(counts))


class Linear:
    """`x @ weight.T + bias` for any multiple of `ROW_QUANTUM` rows.

    `row_counts` are those of `equivalent_row_counts`; without any the product is done at once, as on a GPU, where
    rows may depend on their number in the last bits.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, row_counts: tuple[int, ...]) -> None:
        self.weight = weight
        self.bias = bias
        self._row_counts = row_counts

    def __call__(self, x: Tensor) -> Tensor:
        """[rows, in] to [rows, out]."""
        num_rows = x.shape[0]
        if not self._row_counts or num_rows in self._row_counts:
            return functional.linear(x, self.weight, self.bias)
        out = x.new_empty(num_rows, self.weight.shape[0])
        start = 0
        while start < num_rows:
            size = next(count for count in self._row_counts if count <= num_rows - start)
            out[start : start + size] = functional.linear(x[start : start + size], self.weight, self.bias)
            start += size
        return out
