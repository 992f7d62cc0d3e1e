"""Products of eight-bit weights and eight-bit activations (W8A8) on a CPU.

Weights have one scale per output channel, activations one per token, both symmetric. Sums are integers and so exact:
a row's result depends neither on its neighbours nor on their number.

A quantised matrix [out, in] is one int8 tensor [out, in + 4]: in each row its numbers, then the four bytes of its
float32 scale. Row blocks of it are quantised matrices themselves, so fused projections are filled part by part, as
the checkpoint's tensors are read.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]

_SCALE_BYTES = 4
_MAX_LEVEL = 127
# Of activations where the processor multiplies without saturation, and where it does not.
_FULL_LEVELS = 127
_REDUCED_LEVELS = 96
_ROWS_AT_ONCE = 4096
_TINY = torch.finfo(torch.float32).tiny


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """What activations, norms, biases and the KV cache are held in."""
    return torch.float32 if dtype in (torch.int8, torch.float16) else dtype


def embedding_dtype(dtype: torch.dtype) -> torch.dtype:
    """What the embedding is held in: checkpoints come in bfloat16, and eight bits would save little."""
    return torch.bfloat16 if dtype is torch.int8 else dtype


def is_supported() -> bool:
    """Whether PyTorch has the kernels for this processor."""
    return "fbgemm" in torch.backends.quantized.supported_engines


def empty_matrix(num_outputs: int, num_inputs: int) -> Tensor:
    """A quantised matrix, to be filled."""
    return torch.empty(num_outputs, num_inputs + _SCALE_BYTES, dtype=torch.int8)


def matrix_shape(matrix: Tensor) -> tuple[int, int]:
    """[out, in] of a quantised matrix."""
    return matrix.shape[0], matrix.shape[1] - _SCALE_BYTES


def fill(matrix: Tensor, weight: Tensor) -> None:
    """Quantises weight [out, in] into a matrix."""
    for part, rows in zip(torch.split(matrix, _ROWS_AT_ONCE), torch.split(weight, _ROWS_AT_ONCE), strict=True):
        values = rows.float()
        scales = (_max_abs(values) / _MAX_LEVEL).clamp_min_(_TINY)
        part[:, :-_SCALE_BYTES] = (values / scales).round_()
        part[:, -_SCALE_BYTES:] = scales.view(torch.int8)


def quantized(weight: Tensor) -> Tensor:
    """The quantised matrix of a weight [out, in]."""
    matrix = empty_matrix(*weight.shape)
    fill(matrix, weight)
    return matrix


def normalise_rows(matrix: Tensor) -> None:
    """Scales each row of a quantised matrix to the length one."""
    for part in torch.split(matrix, _ROWS_AT_ONCE):
        lengths = torch.linalg.vector_norm(part[:, :-_SCALE_BYTES].float(), dim=1, keepdim=True)
        part[:, -_SCALE_BYTES:] = (1 / lengths.clamp_min_(1)).view(torch.int8)


def values_and_scales(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers [out, in] int8 and scales [out] float32 of a quantised matrix."""
    scales = matrix[:, -_SCALE_BYTES:].contiguous().view(torch.float32).squeeze(1)
    return matrix[:, :-_SCALE_BYTES], scales


def quantized_product(matrix: Tensor, bias: Tensor | None) -> Product:
    """`x @ matrix.T + bias` for any number of rows; the matrix is copied.

    FBGEMM takes one range of activations for all rows, so every row is brought to [-1, 1] before and back after.
    """
    packed = _packed(*values_and_scales(matrix))
    levels = _FULL_LEVELS if multiplies_exactly() else _REDUCED_LEVELS
    run = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
    step, middle = 1 / levels, levels + 1

    def product(x: Tensor) -> Tensor:
        scales = _max_abs(x).clamp_min_(_TINY)
        y: Tensor = run(x / scales, step, middle, packed)
        return y.mul_(scales) if bias is None else torch.addcmul(bias, y, scales)

    return product


@functools.cache
def multiplies_exactly() -> bool:
    """Whether unsigned times signed bytes are summed without saturation, as they are with VNNI.

    Processors without it add two neighbouring products in 16 bits. Of the full range much is clipped then (a relative
    error of 5e-3 on normally distributed numbers); with the reduced one clipping is rare (below 4e-4).
    """
    num_inputs = 64
    packed = _packed(torch.full((16, num_inputs), _MAX_LEVEL, dtype=torch.int8), torch.ones(16))
    x = torch.ones(1, num_inputs)
    y = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(x, 1 / _FULL_LEVELS, _FULL_LEVELS + 1, packed)
    return bool((y - num_inputs * _MAX_LEVEL).abs().max() < 1)


def _max_abs(x: Tensor) -> Tensor:
    # Two passes, but on many rows ten times as fast as a norm.
    return x.abs().amax(1, keepdim=True)


def _packed(values: Tensor, scales: Tensor) -> torch.ScriptObject:
    torch.backends.quantized.engine = "fbgemm"
    zero_points = torch.zeros(len(scales), dtype=torch.int64)
    with warnings.catch_warnings():
        # Deprecated with quantised tensors as such; the packed weights are all that is kept, and the version is pinned.
        warnings.simplefilter("ignore", UserWarning)
        tensor = torch._make_per_channel_quantized_tensor(values.contiguous(), scales.double(), zero_points, 0)
        packed: torch.ScriptObject = torch.ops.quantized.linear_prepack(tensor, None)
    return packed
