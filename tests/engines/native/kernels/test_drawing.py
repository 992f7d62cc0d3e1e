"""Drawing by the kernels against drawing by PyTorch's operations."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from portico.core.engine import TokenLogprobs
from portico.engines.native.drawing import Choice, Drawing, TorchDrawing
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
    return replace(choice, uniform=uniform)


def drawn_ids(drawing: Drawing, scores: Tensor, choices: list[Choice]) -> Tensor:
    return torch.tensor([each.token_id for each in drawing.draw(scores, choices)])


def assert_close(found: TokenLogprobs, expected: TokenLogprobs) -> None:
    assert found.logprob == pytest.approx(expected.logprob, abs=1e-3)
    assert found.rank == expected.rank
    assert [each for each, _ in found.best] == [each for each, _ in expected.best]
    assert [value for _, value in found.best] == pytest.approx([value for _, value in expected.best], abs=1e-3)


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
    found, expected = drawn_ids(drawing, rows, asked), drawn_ids(TorchDrawing(), rows, asked)
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
    asked = [Choice(temperature=0.9, uniform=each) for each in uniforms]
    drawn = drawn_ids(drawing, scores.expand(len(uniforms), -1), asked)
    found = torch.bincount(drawn, minlength=300) / len(uniforms)
    assert float((found - scores[0].div(0.9).softmax(0)).abs().sum()) < 0.1


def test_rows_have_their_own_choices_and_some_take_the_best(drawing: KernelDrawing) -> None:
    scores = random_scores(len(CHOICES) + 1, 3000, 3.0)
    asked = [*(with_uniform(choice, 0.6) for choice in CHOICES), Choice(top_p=0.5)]
    together = drawing.draw(scores, asked)
    assert together == [drawing.draw(scores[i : i + 1], asked[i : i + 1])[0] for i in range(len(asked))]
    assert together[-1].token_id == int(scores[-1].argmax())


@pytest.mark.parametrize("vocab_size", [1, 3, 16, 63, 64, 65, 1000, 4097])
def test_the_best_is_the_first_of_equals(drawing: KernelDrawing, vocab_size: int) -> None:
    scores = torch.randint(0, 4, (40, vocab_size), generator=torch.Generator().manual_seed(1)).float()
    assert drawn_ids(drawing, scores, [Choice()] * 40).tolist() == scores.numpy().argmax(1).tolist()


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_the_only_token_that_is_allowed_is_drawn(drawing: KernelDrawing, choice: Choice) -> None:
    scores = torch.full((3, 500), -torch.inf)
    scores[:, 321] = -80.0
    asked = [with_uniform(choice, uniform) for uniform in (0.0, 0.5, 0.9999999)]
    assert drawn_ids(drawing, scores, asked).tolist() == [321] * 3


@pytest.mark.parametrize("scale", [1.0, 8.0])
@pytest.mark.parametrize("vocab_size", [1, 5, 64, 3001])
@pytest.mark.parametrize("num_best", [0, 1, 20])
def test_log_probabilities_of_tokens_are_those_of_the_whole_row(
    drawing: KernelDrawing, vocab_size: int, scale: float, num_best: int
) -> None:
    scores = random_scores(6, vocab_size, scale)
    if vocab_size > 5:
        scores[:, 2::5] = -torch.inf
    token_ids = [0, vocab_size // 2 // 5 * 5, *scores[2:].argmax(1).tolist()]
    asked = [num_best, 0, num_best, 3, num_best, 1]
    described = drawing.describe(scores, token_ids, asked)
    for found, expected in zip(described, TorchDrawing().describe(scores, token_ids, asked), strict=True):
        assert_close(found, expected)


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_what_is_shown_of_a_draw_is_what_it_is_drawn_from(drawing: KernelDrawing, choice: Choice) -> None:
    scores = random_scores(5, 700, 4.0)
    asked = [replace(choice, uniform=each, num_shown=shown) for each, shown in ((0.1, 5), (0.5, 0), (0.9, None))]
    asked += [replace(choice, num_shown=2), choice]
    expected = TorchDrawing().draw(scores, asked)
    for one, other in zip(drawing.draw(scores, asked), expected, strict=True):
        assert one.token_id == other.token_id
        assert (one.logprobs is None) == (other.logprobs is None)
        if one.logprobs is not None and other.logprobs is not None:
            assert_close(one.logprobs, other.logprobs)


@pytest.mark.parametrize("temperature", [1e-6, 1e-20])
def test_next_to_no_temperature_draws_the_best(drawing: KernelDrawing, temperature: float) -> None:
    scores = random_scores(3, 3000, 4.0)
    asked = [Choice(temperature, uniform=uniform) for uniform in (0.0, 0.5, 1 - 2**-53)]
    for each in (drawing, TorchDrawing()):
        assert drawn_ids(each, scores, asked).tolist() == scores.argmax(1).tolist()


def test_tokens_of_no_weight_are_not_drawn(drawing: KernelDrawing) -> None:
    scores = torch.full((1, 300), -200.0)
    scores[0, 200] = 0.0
    assert drawn_ids(drawing, scores, [Choice(uniform=0.0)]).tolist() == [200]


@pytest.mark.parametrize("vocab_size", [5, 32, 64, 1000, 4097])
def test_a_mass_of_nearly_one_keeps_all_that_has_weight(drawing: KernelDrawing, vocab_size: int) -> None:
    scores = random_scores(64, vocab_size, 3.0)
    asked = [Choice(top_p=top_p, uniform=0.5, num_shown=vocab_size) for top_p in (0.9999999, 1 - 2**-24)] * 32
    for row, draw in zip(scores.double().softmax(1), drawing.draw(scores, asked), strict=True):
        assert draw.logprobs is not None
        kept = [token_id for token_id, _ in draw.logprobs.best]
        assert float(row[kept].sum()) > 1 - 1e-6


@pytest.mark.parametrize("choice", [each for each in CHOICES if each.typical_p == 1], ids=str)
@pytest.mark.parametrize("vocab_size", [5, 3001])
def test_what_is_no_number_is_not_drawn(drawing: KernelDrawing, choice: Choice, vocab_size: int) -> None:
    plain = random_scores(40, vocab_size, 3.0)
    gone = torch.rand(plain.shape, generator=torch.Generator().manual_seed(1)) < torch.arange(40).unsqueeze(1) / 39
    gone[:39, 3] = False
    broken = plain.masked_fill(gone, torch.nan)
    asked = [replace(choice, uniform=uniform, num_shown=9) for uniform in (None, 0.1, 0.5, 0.9)] * 10
    expected = drawing.draw(plain.masked_fill(gone, -torch.inf), asked)
    assert drawing.draw(broken, asked)[:39] == expected[:39]
    # Nothing is left of the last row, and there is no distribution over infinite numbers.
    assert drawing.draw(broken, asked)[39].token_id == 0
    broken[:, 4] = torch.inf
    assert drawn_ids(drawing, broken, asked).tolist() == [4] * 40


_LITTLE_MEMORY = """
import ctypes, resource
from pathlib import Path
import torch
from portico.engines.native.drawing import Choice
from portico.engines.native.kernels.drawing import KernelDrawing
from portico.engines.native.kernels.library import open_variant
from portico.engines.native.kernels.structures import Model

library = open_variant(VARIANT)
decoder = library.portico_create(ctypes.byref(Model(num_heads=1, num_kv_heads=1)), 2, 1000)
drawing, scores = KernelDrawing(library, decoder), torch.zeros(2, 8_000_000)
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (8 << 20), resource.RLIM_INFINITY))
try:
    drawing.draw(scores, [Choice(top_p=0.9999, uniform=0.5)] * 2)
except MemoryError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print([draw.token_id for draw in drawing.draw(scores, [Choice(top_p=0.9999)] * 2)])
"""


def test_a_lack_of_memory_is_an_error_and_not_the_end(library: ctypes.CDLL) -> None:
    variant = library._name.split("/")[-1].split(".")[0]
    script = _LITTLE_MEMORY.replace("VARIANT", repr(variant))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["there is no memory for this step of the kernels", "[0, 0]"]
