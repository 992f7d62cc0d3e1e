"""Drawing by the compiled kernels, a thread for each row."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from portico.core.engine import TokenLogprobs
from portico.engines.native.drawing import Choice, Draw, warp
from portico.engines.native.kernels.structures import Choices, Report


class KernelDrawing:
    """See `Drawing`; with the threads of a decoder of the kernels, which must outlive this."""

    def __init__(self, library: ctypes.CDLL, decoder: int) -> None:
        self._library = library
        self._decoder = decoder

    def draw(self, scores: Tensor, choices: Sequence[Choice]) -> list[Draw]:
        """See `Drawing`."""
        scores = scores.contiguous()
        typical = [row for row, each in enumerate(choices) if each.typical_p < 1 and each.uniform is not None]
        if typical:
            scores = scores.clone()
            scores[typical] = warp(scores[typical], [choices[row] for row in typical])
            plain = {row: Choice(uniform=choices[row].uniform, num_shown=choices[row].num_shown) for row in typical}
            choices = [plain.get(row, each) for row, each in enumerate(choices)]
        columns: tuple[npt.NDArray[np.float32 | np.float64 | np.int64], ...] = (
            np.array([each.temperature for each in choices], np.float32),
            np.array([each.top_k for each in choices], np.int64),
            np.array([each.top_p for each in choices], np.float32),
            np.array([each.min_p for each in choices], np.float32),
            np.array([-1.0 if each.uniform is None else each.uniform for each in choices], np.float64),
        )
        report = _Report([-1 if each.num_shown is None else each.num_shown for each in choices])
        token_ids = torch.empty(len(choices), dtype=torch.int64)
        self._library.portico_draw(
            self._decoder,
            scores.data_ptr(),
            *scores.shape,
            ctypes.byref(Choices(*(column.ctypes.data for column in columns))),
            ctypes.byref(report.structure),
            token_ids.data_ptr(),
        )
        return [
            Draw(token_id, None if choice.num_shown is None else report.read(row))
            for row, (token_id, choice) in enumerate(zip(token_ids.tolist(), choices, strict=True))
        ]

    def describe(self, scores: Tensor, token_ids: Sequence[int], num_best: Sequence[int]) -> list[TokenLogprobs]:
        """See `Drawing`."""
        scores = scores.contiguous()
        ids = torch.tensor(token_ids, dtype=torch.int64)
        report = _Report(num_best)
        self._library.portico_describe(
            self._decoder, scores.data_ptr(), *scores.shape, ids.data_ptr(), ctypes.byref(report.structure)
        )
        return [report.read(row) for row in range(len(token_ids))]


class _Report:
    """Owns what the structure points to."""

    def __init__(self, num_best: Sequence[int]) -> None:
        rows, width = len(num_best), max((0, *num_best))
        self._num_best = np.array(num_best, np.int64)
        self._logprobs = np.empty(rows, np.float32)
        self._ranks = np.empty(rows, np.int64)
        self._best_ids = np.full((rows, width), -1, np.int64)
        self._best_logprobs = np.empty((rows, width), np.float32)
        self.structure = Report(
            num_best=self._num_best.ctypes.data,
            width=width,
            logprobs=self._logprobs.ctypes.data,
            ranks=self._ranks.ctypes.data,
            best_ids=self._best_ids.ctypes.data,
            best_logprobs=self._best_logprobs.ctypes.data,
        )

    def read(self, row: int) -> TokenLogprobs:
        num_best = self._num_best[row]
        ids, values = self._best_ids[row, :num_best].tolist(), self._best_logprobs[row, :num_best].tolist()
        best = tuple((token_id, value) for token_id, value in zip(ids, values, strict=True) if token_id >= 0)
        return TokenLogprobs(float(self._logprobs[row]), int(self._ranks[row]), best)
