"""What drawing tokens takes, by the kernels and by PyTorch's operations: `python -m benchmarks.drawing`."""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from collections.abc import Sequence

import torch

from portico.engines.native.drawing import Choice, Drawing, TorchDrawing
from portico.engines.native.kernels.drawing import KernelDrawing
from portico.engines.native.kernels.library import load
from portico.engines.native.kernels.structures import Model

_CASES = {
    "the best": Choice(),
    "temperature 1": Choice(uniform=0.5),
    "temperature 0.7, top_p 0.9": Choice(temperature=0.7, top_p=0.9, uniform=0.5),
    "temperature 0.7, top_k 20, top_p 0.8": Choice(temperature=0.7, top_k=20, top_p=0.8, uniform=0.5),
    "the best, with 5 log-probabilities": Choice(num_shown=5),
}
# Standard deviations of normal scores: as of random weights, and wider, as of models that know what comes next.
_SCALES = {"flat": 0.6, "peaked": 3.0}
_ROUNDS = 7


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--vocab-size", type=int, default=151936)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    library = load()
    if library is None:
        sys.exit("the kernels are not for this processor, or were not built")
    torch.set_num_threads(arguments.threads)
    decoder = library.portico_create(ctypes.byref(Model(num_heads=1, num_kv_heads=1)), arguments.threads, 20_000)
    kernels, plain = KernelDrawing(library, decoder), TorchDrawing()
    print(f"{arguments.rows} rows of {arguments.vocab_size}, {arguments.threads} threads, milliseconds")
    print(f"{'scores':8}{'choice':40}{'kernels':>10}{'PyTorch':>10}{'ratio':>8}")
    for kind, scale in _SCALES.items():
        scores = torch.randn(arguments.rows, arguments.vocab_size, generator=torch.Generator().manual_seed(0)) * scale
        for name, choice in _CASES.items():
            choices = [choice] * arguments.rows
            ours, theirs = _best_times((kernels, plain), scores, choices)
            print(f"{kind:8}{name:40}{ours * 1e3:10.1f}{theirs * 1e3:10.1f}{theirs / ours:8.1f}")


def _best_times(drawings: Sequence[Drawing], scores: torch.Tensor, choices: list[Choice]) -> list[float]:
    """Of some rounds in which they take turns."""
    best = [float("inf")] * len(drawings)
    for _ in range(_ROUNDS):
        for index, drawing in enumerate(drawings):
            start = time.perf_counter()
            drawing.draw(scores, choices)
            best[index] = min(best[index], time.perf_counter() - start)
    return best


if __name__ == "__main__":
    main()
