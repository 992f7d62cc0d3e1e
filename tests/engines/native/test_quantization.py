"""Products of eight bits against exact integer arithmetic, and weights of four bits."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from portico.core.engine import EngineStartError
from portico.engines.native import quantization
from portico.engines.native.config import NativeConfig
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.linear import LinearFactory
from portico.engines.native.quantization import (
    FOUR_BITS,
    dequantized,
    empty_matrix,
    fill,
    matrix_shape,
    normalise_rows,
    quantized,
    quantized_product,
    values_and_scales,
)
from portico.engines.native.startup import build
from tests.engines.native.conftest import needs_kernels, write_checkpoint
from tests.engines.native.core_driver import run_to_end
from tests.engines.native.jobs import job

SHAPES = [(64, 96), (192, 1024), (896, 640), (100, 36)]


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def exact_product(x: Tensor, matrix: Tensor, levels: int) -> Tensor:
    """What the kernel computes, in integers and float64."""
    values, scales = values_and_scales(matrix)
    ranges = x.abs().amax(1, keepdim=True)
    rounded = (x / ranges * levels).round().long()
    return (rounded @ values.long().T).double() * scales.double() * ranges.double() / levels


@pytest.mark.parametrize(("num_inputs", "num_outputs"), SHAPES)
@pytest.mark.parametrize("has_vnni", [False, True])
def test_products_equal_integer_arithmetic(
    num_inputs: int, num_outputs: int, has_vnni: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_vnni and not quantization.multiplies_exactly():
        pytest.skip("this processor saturates")
    monkeypatch.setattr(quantization, "multiplies_exactly", lambda: has_vnni)
    matrix, x = quantized(random(num_outputs, num_inputs)), random(40, num_inputs, seed=2)
    bias = random(num_outputs, seed=3)
    expected = exact_product(x, matrix, 127 if has_vnni else 96)
    # A number in the middle between two levels may be rounded either way, and a few sums be clipped without VNNI.
    tolerance = 2e-3 * float(expected.norm())
    assert float((quantized_product(matrix, None)(x) - expected).norm()) < tolerance
    assert float((quantized_product(matrix, bias)(x) - bias - expected).norm()) < tolerance


@pytest.mark.parametrize(("num_inputs", "num_outputs"), SHAPES)
def test_a_row_is_the_same_among_any_number_of_rows(num_inputs: int, num_outputs: int) -> None:
    linear = LinearFactory(quantizes=True).linear(random(num_outputs, num_inputs), random(num_outputs, seed=2))
    x = random(300, num_inputs, seed=3) * torch.logspace(-3, 3, 300).unsqueeze(1)
    everything = linear(x)
    for num_rows in (1, 2, 3, 5, 8, 17, 32, 64, 99, 256):
        assert torch.equal(linear(x[:num_rows]), everything[:num_rows])
        assert torch.equal(linear(x[-num_rows:]), everything[-num_rows:])


def test_products_are_close_to_those_of_the_weights() -> None:
    weight, x = random(640, 896), random(32, 896, seed=2)
    error = (quantized_product(quantized(weight), None)(x) - x @ weight.T).norm() / (x @ weight.T).norm()
    assert float(error) < 0.02


def test_rows_of_zeros_stay_zeros() -> None:
    weight = random(36, 100)
    weight[3] = 0
    x = torch.zeros(3, 100)
    x[1] = 1
    y = quantized_product(quantized(weight), None)(x)
    assert not bool(y.isnan().any())
    assert not bool(y[0].any())
    assert not bool(y[:, 3].any())


def test_a_matrix_is_filled_part_by_part() -> None:
    weight = random(30, 20).to(torch.bfloat16)
    matrix = empty_matrix(30, 20)
    assert matrix_shape(matrix) == (30, 20)
    for part, rows in zip(torch.split(matrix, [10, 20]), torch.split(weight, [10, 20]), strict=True):
        fill(part, rows)
    assert torch.equal(matrix, quantized(weight))
    values, scales = values_and_scales(matrix)
    torch.testing.assert_close(values * scales.unsqueeze(1), weight.float(), atol=float(scales.max()) / 2, rtol=0)


def test_rows_are_normalised_by_their_scales() -> None:
    weight = random(30, 20)
    matrix = quantized(weight)
    normalise_rows(matrix)
    values, scales = values_and_scales(matrix)
    torch.testing.assert_close((values * scales.unsqueeze(1)).norm(dim=1), torch.ones(30))
    torch.testing.assert_close(
        values * scales.unsqueeze(1), weight / weight.norm(dim=1, keepdim=True), atol=0.01, rtol=0
    )


@needs_kernels
def test_four_bits_are_those_of_a_checkpoint_with_their_values(
    make_core: Callable[..., EngineCore], checkpoint: Path, tmp_path: Path
) -> None:
    """Loading, packing and products of every projection: another checkpoint has what the four bits stand for.

    Keys and values are as exact as they can be, so that weights are all that differs.
    """
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    tensors = load_file(checkpoint / "model.safetensors")
    for name, tensor in tensors.items():
        if name.endswith("_proj.weight"):
            matrix = empty_matrix(tensor.shape[0], tensor.shape[1], FOUR_BITS)
            fill(matrix, tensor)
            tensors[name] = dequantized(matrix)
            assert (tensors[name] - tensor).abs().max() < tensor.abs().max() / 7
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    asked = job(range(20, 70), max_tokens=1, prompt_logprobs=0)
    [found] = run_to_end(make_core(dtype="int4", kernels="own", kv_cache_dtype="float32"), [asked])
    others = make_core(tmp_path, dtype="int8", kernels="own", kv_cache_dtype="float32")
    [expected] = run_to_end(others, [asked])
    pairs = zip(found.prefilled[0].logprobs[1:], expected.prefilled[0].logprobs[1:], strict=True)
    distances = [abs(one.logprob - other.logprob) for one, other in pairs if one is not None and other is not None]
    assert len(distances) == 49
    assert sum(distances) / 49 < 0.1


def test_four_bits_without_kernels_are_refused(make_core: Callable[..., EngineCore]) -> None:
    with pytest.raises(EngineStartError, match="int4"):
        make_core(dtype="int4", kernels="torch")


@needs_kernels
def test_widths_that_are_no_whole_groups_are_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, intermediate_size=100)
    with pytest.raises(EngineStartError, match="FFN width, 100"):
        build(path, NativeConfig(dtype="int4", device="cpu"), lambda _: None)
