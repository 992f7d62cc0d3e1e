"""Products whose rows do not depend on their number."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from portico.engines.native import linear as linear_module
from portico.engines.native.linear import Linear, LinearFactory, padded
from portico.engines.native.quantization import compute_dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("num_inputs", "num_outputs"), [(64, 96), (192, 1024), (512, 192), (896, 640)])
def test_a_row_is_the_same_among_any_number_of_rows(dtype: torch.dtype, num_inputs: int, num_outputs: int) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(num_outputs, num_inputs, generator=generator).to(dtype)
    bias = torch.randn(num_outputs, generator=generator).to(compute_dtype(dtype))
    x = torch.randn(700, num_inputs, generator=generator).to(compute_dtype(dtype))
    linear = LinearFactory().linear(weight, bias)
    everything = linear(x)
    tolerance = 1.0 if dtype is torch.bfloat16 else 1e-3
    expected = functional.linear(x, weight.to(x.dtype), bias)
    torch.testing.assert_close(everything, expected, atol=tolerance, rtol=0.02)
    for num_rows in (1, 2, 3, 5, 8, 16, 21, 40, 64, 99, 256, 300):
        assert torch.equal(linear(x[:num_rows]), everything[:num_rows])
        assert torch.equal(linear(x[-num_rows:]), everything[-num_rows:])


def test_wide_matrices_of_half_precision_are_packed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(90, 32, generator=torch.Generator().manual_seed(1)).half()
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(2))
    expected = LinearFactory().linear(weight)(x)
    monkeypatch.setattr(linear_module, "_NUMBERS_AT_ONCE", 40 * 32)
    assert torch.equal(LinearFactory().linear(weight)(x), expected)


def test_only_numbers_of_rows_that_are_known_good_are_run() -> None:
    seen: list[int] = []

    def product(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.shape[0])
        return x * 2

    x = torch.arange(75.0).unsqueeze(1)
    assert torch.equal(Linear(product, (32, 16))(x), x * 2)
    assert seen == [32, 32, 16]


def test_few_rows_are_padded_to_few_numbers() -> None:
    assert [padded(number) for number in (1, 4, 5, 9, 17, 33, 64, 65, 1000)] == [1, 4, 6, 12, 24, 48, 64, 72, 1000]
