"""Drawing by the compiled kernels, a thread for each row."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from portico.engines.native.drawing import Choice, warp
from portico.engines.native.kernels.structures import Choices


class KernelDrawing:
    """See `Drawing`; with the threads of a decoder of the kernels, which must outlive this."""

    def __init__(self, library: ctypes.CDLL, decoder: int) -> None:
        self._library = library
        self._decoder = decoder

    def draw(self, scores: Tensor, choices: Sequence[Choice]) -> list[int]:
        """See `Drawing`."""
        scores = scores.contiguous()
        typical = [row for row, each in enumerate(choices) if each.typical_p < 1 and each.uniform is not None]
        if typical:
            scores = scores.clone()
            scores[typical] = warp(scores[typical], [choices[row] for row in typical])
            plain = {row: Choice(uniform=choices[row].uniform) for row in typical}
            choices = [plain.get(row, each) for row, each in enumerate(choices)]
        columns: tuple[npt.NDArray[np.float32 | np.float64 | np.int64], ...] = (
            np.array([each.temperature for each in choices], np.float32),
            np.array([each.top_k for each in choices], np.int64),
            np.array([each.top_p for each in choices], np.float32),
            np.array([each.min_p for each in choices], np.float32),
            np.array([-1.0 if each.uniform is None else each.uniform for each in choices], np.float64),
        )
        token_ids = torch.empty(len(choices), dtype=torch.int64)
        self._library.portico_draw(
            self._decoder,
            scores.data_ptr(),
            *scores.shape,
            ctypes.byref(Choices(*(column.ctypes.data for column in columns))),
            token_ids.data_ptr(),
        )
        found: list[int] = token_ids.tolist()
        return found
