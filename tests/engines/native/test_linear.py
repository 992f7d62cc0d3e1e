"""Products whose rows do not depend on their number."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from portico.engines.native.linear import Linear, LinearFactory, padded


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("num_inputs", "num_outputs"), [(64, 96), (192, 1024), (512, 192), (896, 640)])
def test_a_row_is_the_same_among_any_number_of_rows(dtype: torch.dtype, num_inputs: int, num_outputs: int) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(num_outputs, num_inputs, generator=generator).to(dtype)
    bias = torch.randn(num_outputs, generator=generator).to(dtype)
    x = torch.randn(700, num_inputs, generator=generator).to(dtype)
    linear = LinearFactory().linear(weight, bias)
    everything = linear(x)
    tolerance = 1e-3 if dtype is torch.float32 else 1.0
    torch.testing.assert_close(everything, functional.linear(x, weight, bias), atol=tolerance, rtol=0.02)
    for num_rows in (1, 2, 3, 5, 8, 16, 21, 40, 64, 99, 256, 300):
        assert torch.equal(linear(x[:num_rows]), everything[:num_rows])
        assert torch.equal(linear(x[-num_rows:]), everything[-num_rows:])


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
