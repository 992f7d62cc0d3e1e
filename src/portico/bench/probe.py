"""Measures what this machine can do at most: `python -m portico.bench.probe --threads 2` prints JSON.

It runs in a process of its own, since it imports torch. Each figure is the best of several tries: a ceiling.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import torch

_READ_BYTES = 1 << 29
_ROWS, _WIDTH = 256, 2048
_SECONDS_EACH = 0.6


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, required=True)
    torch.set_num_threads(parser.parse_args().threads)
    with torch.inference_mode():
        measured = {
            "memory_bandwidth": _READ_BYTES / _best_time(_reader()),
            **{name: max(_gemm_rate(make()) for make in makers) for name, makers in _GEMMS.items()},
        }
    sys.stdout.write(json.dumps(measured) + "\n")


def _best_time(call: Callable[[], object]) -> float:
    best, end = float("inf"), time.perf_counter() + _SECONDS_EACH
    call()
    while (start := time.perf_counter()) < end:
        call()
        best = min(best, time.perf_counter() - start)
    return best


def _gemm_rate(call: Callable[[], object]) -> float:
    return 2.0 * _ROWS * _WIDTH * _WIDTH / _best_time(call)


def _reader() -> Callable[[], object]:
    # A matrix-vector product: what decoding one stream does with the weights.
    matrix, vector = torch.ones(_READ_BYTES // 4 // _WIDTH, _WIDTH), torch.ones(_WIDTH)
    return lambda: torch.mv(matrix, vector)


def _dense(dtype: torch.dtype) -> Callable[[], object]:
    rows, weights = torch.randn(_ROWS, _WIDTH).to(dtype), torch.randn(_WIDTH, _WIDTH).to(dtype)
    return lambda: torch.nn.functional.linear(rows, weights)


def _quantized() -> Callable[[], object]:
    """FBGEMM, the fastest for bytes on processors without VNNI; it brings its rows to bytes itself."""
    torch.backends.quantized.engine = "fbgemm"
    weights = torch.quantize_per_tensor(torch.randn(_WIDTH, _WIDTH), 0.05, 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(weights, None)
    rows = torch.randn(_ROWS, _WIDTH)
    return lambda: torch.ops.quantized.linear_dynamic(rows, packed)


def _integers() -> Callable[[], object]:
    """oneDNN's product of bytes, the fastest with VNNI."""
    rows, weights = (torch.randint(-127, 127, (size, _WIDTH), dtype=torch.int8) for size in (_ROWS, _WIDTH))
    return lambda: torch._int_mm(rows, weights)


_GEMMS: dict[str, tuple[Callable[[], Callable[[], object]], ...]] = {
    "float32": (lambda: _dense(torch.float32),),
    "bfloat16": (lambda: _dense(torch.bfloat16),),
    "int8": (_quantized, _integers),
}

if __name__ == "__main__":
    main()
