"""Products of eight-bit or four-bit weights and eight-bit activations on a CPU.

Weights of eight bits have one scale per output channel, activations one per token, both symmetric. Sums are integers
and so exact: a row's result depends neither on its neighbours nor on their number.

A quantised matrix [out, in] is one int8 tensor [out, in + 4]: in each row its numbers, then the four bytes of its
float32 scale. Row blocks of it are quantised matrices themselves, so fused projections are filled part by part, as
the checkpoint's tensors are read.

Weights of four bits have one scale, of float16, for each `GROUP` inputs of an output, such that the number that is the
furthest from zero is -8 of it (Q4_0 of llama.cpp). Such a matrix is one uint8 tensor [out, in / 2 + in / 16]: the
numbers, eight too much, two to a byte, then the scales. Only the engine's own kernels multiply with it.
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


# The type of matrices of four bits, two to a byte; torch's own type of four bits has no operations.
FOUR_BITS = torch.uint8
# Inputs of weights of four bits that share a scale.
GROUP = 32


def is_quantized(tensor: Tensor) -> bool:
    """Whether a tensor is a quantised matrix."""
    return tensor.dtype in (torch.int8, FOUR_BITS)


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """What activations, norms and biases are held in, and the KV cache without the engine's own kernels."""
    return torch.float32 if dtype in (torch.int8, FOUR_BITS, torch.float16) else dtype


def embedding_dtype(dtype: torch.dtype) -> torch.dtype:
    """What the embedding is held in: checkpoints come in bfloat16, and eight bits would save little."""
    return torch.bfloat16 if dtype in (torch.int8, FOUR_BITS) else dtype


def is_supported() -> bool:
    """Whether PyTorch has the kernels for this processor."""
    return "fbgemm" in torch.backends.quantized.supported_engines


def empty_matrix(num_outputs: int, num_inputs: int, dtype: torch.dtype = torch.int8) -> Tensor:
    """A quantised matrix of int8 or int4, to be filled."""
    if dtype is FOUR_BITS:
        return torch.empty(num_outputs, num_inputs // 2 + num_inputs // GROUP * 2, dtype=torch.uint8)
    return torch.empty(num_outputs, num_inputs + _SCALE_BYTES, dtype=torch.int8)


def matrix_shape(matrix: Tensor) -> tuple[int, int]:
    """[out, in] of a quantised matrix."""
    if matrix.dtype is FOUR_BITS:
        return matrix.shape[0], matrix.shape[1] * 2 * GROUP // (GROUP + 4)
    return matrix.shape[0], matrix.shape[1] - _SCALE_BYTES


def fill(matrix: Tensor, weight: Tensor) -> None:
    """Quantises weight [out, in] into a matrix."""
    if matrix.dtype is FOUR_BITS:
        _fill_nibbles(matrix, weight)
        return
    for part, rows in zip(torch.split(matrix, _ROWS_AT_ONCE), torch.split(weight, _ROWS_AT_ONCE), strict=True):
        values = rows.float()
        scales = (_max_abs(values) / _MAX_LEVEL).clamp_min_(_TINY)
        part[:, :-_SCALE_BYTES] = (values / scales).round_()
        part[:, -_SCALE_BYTES:] = scales.view(torch.int8)


def _fill_nibbles(matrix: Tensor, weight: Tensor) -> None:
    num_bytes = weight.shape[1] // 2
    for part, rows in zip(torch.split(matrix, _ROWS_AT_ONCE), torch.split(weight, _ROWS_AT_ONCE), strict=True):
        groups = rows.float().view(len(rows), -1, GROUP)
        furthest = groups.gather(2, groups.abs().argmax(2, keepdim=True))
        scales = (furthest / -8).half()
        divisors = torch.where(scales == 0, 1, scales).float()
        numbers = ((groups / divisors).round_() + 8).clamp_(0, 15).to(torch.uint8).flatten(1)
        part[:, :num_bytes] = numbers[:, 0::2] | numbers[:, 1::2] << 4
        part[:, num_bytes:] = scales.squeeze(2).view(torch.uint8)


def dequantized(matrix: Tensor) -> Tensor:
    """The numbers [out, in] float32 that a quantised matrix stands for."""
    if matrix.dtype is torch.int8:
        values, scales = values_and_scales(matrix)
        return values * scales.unsqueeze(1)
    num_outputs, num_inputs = matrix_shape(matrix)
    pairs = matrix[:, : num_inputs // 2]
    numbers = torch.stack([pairs & 15, pairs >> 4], dim=2).view(num_outputs, -1, GROUP).float() - 8
    scales = matrix[:, num_inputs // 2 :].contiguous().view(torch.float16).float()
    return (numbers * scales.unsqueeze(2)).flatten(1)


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
