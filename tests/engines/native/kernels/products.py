"""A product of the kernels alone."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from portico.engines.native.kernels.packing import PackedMatrix
from portico.engines.native.kernels.structures import Model


class Product:
    """A matrix as the head of a decoder without layers."""

    def __init__(self, library: ctypes.CDLL, matrix: PackedMatrix, num_threads: int) -> None:
        self._library = library
        self._matrix = matrix
        model = Model(hidden_size=matrix.structure.num_inputs, head=matrix.structure, num_heads=1, num_kv_heads=1)
        self._decoder = library.portico_create(ctypes.byref(model), num_threads, 1000)

    def __call__(self, x: Tensor) -> Tensor:
        y = torch.full((len(x), self._matrix.structure.num_outputs), torch.nan)
        self._library.portico_head(self._decoder, x.contiguous().data_ptr(), len(x), y.data_ptr())
        return y

    def best(self, x: Tensor) -> list[int]:
        """The output with the largest product of each row."""
        found = torch.full((len(x),), -1)
        self._library.portico_best(self._decoder, x.contiguous().data_ptr(), len(x), found.data_ptr())
        return [int(each) for each in found]

    def close(self) -> None:
        self._library.portico_destroy(self._decoder)
