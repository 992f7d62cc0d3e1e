"""Drawing by the kernels against drawing by PyTorch's operations."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from portico.engines.native.drawing import Choice, TorchDrawing
from portico.engines.native.kernels.drawing import KernelDrawing
from portico.engines.native.kernels.structures import Model

NUM_DRAWS = 50
CHOICES = [
    Choice(),
    Choice(temperature=0.3),
    Choice(temperature=1.7, top_k=1),
    Choice(top_k=40),
    Choice(top_k=10**9),
    Choice(top_p=0.001),
    Choice(temperature=0.7, top_p=0.9),
    Choice(temperature=0.7, top_p=0.9999),
    Choice(top_k=20, top_p=0.8),
    Choice(min_p=0.1),
    Choice(min_p=1.0),
    Choice(top_k=50, top_p=0.95, min_p=0.05),
    Choice(typical_p=0.5),
    Choice(temperature=0.8, top_k=300, typical_p=0.9, min_p=0.01),
]


@pytest.fixture
def drawing(library: ctypes.CDLL) -> Iterator[KernelDrawing]:
    decoder = library.portico_create(ctypes.byref(Model(num_heads=1, num_kv_heads=1)), 3, 1000)
    yield KernelDrawing(library, decoder)
    library.portico_destroy(decoder)


def random_scores(num_rows: int, vocab_size: int, scale: float) -> Tensor:
    return torch.randn(num_rows, vocab_size, generator=torch.Generator().manual_seed(vocab_size)) * scale


def with_uniform(choice: Choice, uniform: float | None) -> Choice:
    return Choice(choice.temperature, choice.top_k, choice.top_p, choice.typical_p, choice.min_p, uniform)


@pytest.mark.parametrize("scale", [0.01, 1.0, 8.0])
@pytest.mark.parametrize("vocab_size", [1, 5, 64, 3001, 20000])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_the_same_numbers_draw_the_same_tokens(
    drawing: KernelDrawing, choice: Choice, vocab_size: int, scale: float
) -> None:
    scores = random_scores(1, vocab_size, scale)
    if vocab_size > 5:
        # Some that are not allowed, and some as good as others.
        scores[0, ::7] = -torch.inf
        scores[0, 1:100:11] = scores[0, 1]
    uniforms = torch.linspace(0, 1, NUM_DRAWS + 1, dtype=torch.float64)[:-1].tolist()
    rows = scores.expand(NUM_DRAWS, -1)
    asked = [with_uniform(choice, uniform) for uniform in uniforms]
    found, expected = torch.tensor(drawing.draw(rows, asked)), torch.tensor(TorchDrawing().draw(rows, asked))
    assert not torch.isinf(scores[0, found]).any()
    # Sums in another order move the limits of tokens a little; of flat distributions several tokens may lie between.
    num_allowed = int((~scores.isinf()).sum())
    assert int(((found - expected).abs() > max(1, num_allowed // 200)).sum()) <= NUM_DRAWS // 25
    if vocab_size <= 64:
        assert int((found != expected).sum()) <= NUM_DRAWS // 25


def test_frequencies_are_those_of_the_distribution(drawing: KernelDrawing) -> None:
    scores = random_scores(1, 300, 2.0)
    generator = torch.Generator().manual_seed(3)
    uniforms = torch.rand(20000, generator=generator, dtype=torch.float64).tolist()
    drawn = drawing.draw(scores.expand(len(uniforms), -1), [Choice(temperature=0.9, uniform=u) for u in uniforms])
    found = torch.bincount(torch.tensor(drawn), minlength=300) / len(uniforms)
    assert float((found - scores[0].div(0.9).softmax(0)).abs().sum()) < 0.1


def test_rows_have_their_own_choices_and_some_take_the_best(drawing: KernelDrawing) -> None:
    scores = random_scores(len(CHOICES) + 1, 3000, 3.0)
    asked = [*(with_uniform(choice, 0.6) for choice in CHOICES), Choice(top_p=0.5)]
    together = drawing.draw(scores, asked)
    assert together == [drawing.draw(scores[i : i + 1], asked[i : i + 1])[0] for i in range(len(asked))]
    assert together[-1] == int(scores[-1].argmax())


@pytest.mark.parametrize("vocab_size", [1, 3, 16, 63, 64, 65, 1000, 4097])
def test_the_best_is_the_first_of_equals(drawing: KernelDrawing, vocab_size: int) -> None:
    scores = torch.randint(0, 4, (40, vocab_size), generator=torch.Generator().manual_seed(1)).float()
    assert drawing.draw(scores, [Choice()] * 40) == scores.numpy().argmax(1).tolist()


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_the_only_token_that_is_allowed_is_drawn(drawing: KernelDrawing, choice: Choice) -> None:
    scores = torch.full((3, 500), -torch.inf)
    scores[:, 321] = -80.0
    asked = [with_uniform(choice, uniform) for uniform in (0.0, 0.5, 0.9999999)]
    assert drawing.draw(scores, asked) == [321] * 3
