"""Weights in the order in which the kernels read them."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from portico.engines.native.kernels.memory import PanelMemory
from portico.engines.native.kernels.structures import BFLOAT16, FLOAT16, FLOAT32, INT4, INT8, Matrix
from portico.engines.native.quantization import FOUR_BITS, is_quantized, matrix_shape, quantized, values_and_scales

FORMATS = {
    torch.float32: FLOAT32,
    torch.float16: FLOAT16,
    torch.bfloat16: BFLOAT16,
    torch.int8: INT8,
    FOUR_BITS: INT4,
}
# Rows that are brought to another format at once; a multiple of every panel.
_ROWS_AT_ONCE = 8192


class PackedMatrix:
    """A matrix [out, in] that the kernels read; `structure` holds addresses of what this owns.

    Args:
        weight: floating-point numbers, or a quantised matrix.
        bias: [out] float32 or None.
        is_paired: the upper half of the rows are gates, the lower half the values that they are for.
        dtype: what it is held in; int8 quantises, FOUR_BITS is for matrices that are quantised already.
        memory: where its panels go; by default memory of its own.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        weight: Tensor,
        dtype: torch.dtype,
        bias: Tensor | None = None,
        *,
        is_paired: bool = False,
        memory: PanelMemory | None = None,
    ) -> None:
        num_outputs, num_inputs = matrix_shape(weight) if is_quantized(weight) else weight.shape
        format_ = FORMATS[dtype]
        panel = library.portico_panel()
        self._library = library
        self._num_lanes = -(-num_outputs // panel) * panel
        self._order = _order(num_outputs, panel) if is_paired else np.arange(num_outputs)
        self._panels = (memory or PanelMemory()).take(library.portico_packed_bytes(format_, num_outputs, num_inputs))
        self._scales = np.zeros(self._num_lanes, np.float32)
        self._corrections = np.zeros(self._num_lanes, np.int32)
        self._bias = None if bias is None else self._in_lanes(bias.float().numpy())
        self.structure = Matrix(
            panels=self._panels.ctypes.data,
            scales=self._scales.ctypes.data,
            corrections=self._corrections.ctypes.data,
            bias=None if self._bias is None else self._bias.ctypes.data,
            num_outputs=num_outputs,
            num_inputs=num_inputs,
            format=format_,
            is_paired=is_paired,
        )
        for first in range(0, num_outputs, num_outputs if is_paired else _ROWS_AT_ONCE):
            last = num_outputs if is_paired else min(first + _ROWS_AT_ONCE, num_outputs)
            self._pack(weight[first:last], dtype, first, last)

    def rows(self, numbers: Tensor) -> Tensor:
        """Some rows [n] int64 of a matrix of floating-point numbers: [n, in] float32."""
        assert self.structure.format not in (INT8, INT4)
        found = torch.empty(len(numbers), self.structure.num_inputs)
        self._library.portico_unpack(ctypes.byref(self.structure), numbers.data_ptr(), len(numbers), found.data_ptr())
        return found

    def _pack(self, weight: Tensor, dtype: torch.dtype, first: int, last: int) -> None:
        if dtype is torch.int8:
            values, scales = values_and_scales(weight if weight.dtype is torch.int8 else quantized(weight))
            lanes = np.flatnonzero((self._order >= first) & (self._order < last))
            chosen = self._order[lanes] - first
            self._scales[lanes] = scales.numpy()[chosen]
            sums = values.sum(1, dtype=torch.int32).numpy()
            self._corrections[lanes] = -self._library.portico_byte_offset() * sums[chosen]
            rows = values
        else:
            rows = weight.to(dtype).contiguous()
        part = Matrix.from_buffer_copy(self.structure)
        part.num_outputs = last - first
        part.panels = self._panels.ctypes.data + first * self._panels.nbytes // self._num_lanes
        self._library.portico_pack(rows.data_ptr(), rows.stride(0) * rows.element_size(), ctypes.byref(part))

    def _in_lanes(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        lanes = np.zeros(self._num_lanes, np.float32)
        lanes[: len(self._order)] = values[self._order]
        return lanes


def _order(num_outputs: int, panel: int) -> npt.NDArray[np.int64]:
    """For each lane of a paired matrix its row, or `num_outputs` for lanes that have none."""
    half, num_channels = panel // 2, num_outputs // 2
    lanes = np.arange(-(-num_outputs // panel) * panel)
    channels = lanes // panel * half + lanes % half
    rows = np.where(lanes % panel < half, channels, num_channels + channels)
    order: npt.NDArray[np.int64] = np.where(channels < num_channels, rows, num_outputs)
    return order
