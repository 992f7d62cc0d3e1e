"""What steps of a model take with each variant of the kernels: `python -m benchmarks.steps --dtype int8`.

Nothing but the kernels is in the figures: hidden states of one token of some sequences, the best token of each, and
prompts of one sequence.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from portico.bench.random_checkpoint import find_or_make_checkpoint
from portico.bench.shapes import SHAPES
from portico.core.engine import TokenJob
from portico.core.request import Sampling
from portico.engines.native.config import SPIN_TURNS
from portico.engines.native.kernel_runner import KernelRunner
from portico.engines.native.kernels.library import VARIANTS, load, open_variant
from portico.engines.native.loader import load_weights, read_checkpoint
from portico.engines.native.quantization import FOUR_BITS
from portico.engines.native.scheduler import Chunk, Step
from portico.engines.native.sequence import Job, Sequence

_BLOCK_SIZE = 16
_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
    "int4": FOUR_BITS,
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        default=[name for name in VARIANTS if load(name)],
        help="named ones run even if the processor does not list their instructions, as virtual ones may not",
    )
    parser.add_argument("--dtype", choices=_DTYPES, default="int8")
    parser.add_argument("--model-shape", choices=SHAPES, default="qwen2.5-0.5b")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32], help="sequences that decode")
    parser.add_argument("--context", type=int, default=48, help="tokens of each of them")
    parser.add_argument("--prompts", type=int, nargs="+", default=[128, 512], help="tokens of prompts")
    parser.add_argument("--rounds", type=int, default=9, help="of which the middle one is shown")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cache-dir", type=Path, default=Path.home() / ".cache" / "portico", help="kept files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = find_or_make_checkpoint(
        SHAPES[arguments.model_shape], "bfloat16", 0, arguments.cache_dir / "bench", sys.stderr
    )
    num_tokens = max(max(arguments.rows) * (arguments.context + _BLOCK_SIZE), *arguments.prompts)
    num_blocks = -(-num_tokens // _BLOCK_SIZE)
    runners: dict[str, KernelRunner] = {}
    for name in arguments.variants:
        runner = _find_runner(name, path, _DTYPES[arguments.dtype], num_blocks, arguments.threads)
        if runner is not None:
            runners[name] = runner
    print(f"{arguments.model_shape}, {arguments.dtype}, {arguments.threads} threads, milliseconds")
    print(f"{'':24}" + "".join(f"{name:>10}" for name in runners))
    steps = {f"{rows} sequences": _decoding(rows, arguments.context) for rows in arguments.rows}
    steps |= {f"prompt of {size}": _prompt(size) for size in arguments.prompts}
    for name, step in steps.items():
        times = _times([_evaluation(runner, step) for runner in runners.values()], arguments.rounds)
        print(f"{name:24}" + "".join(f"{1e3 * each:10.1f}" for each in times))


def _find_runner(name: str, path: Path, dtype: torch.dtype, num_blocks: int, num_threads: int) -> KernelRunner | None:
    library = open_variant(name)
    if library is None:
        print(f"{name}: not built, or the system does not give what it needs", file=sys.stderr)
        return None
    checkpoint = read_checkpoint(path)
    weights = load_weights(checkpoint, dtype, torch.device("cpu"), lambda _: None)
    cache_dtype = torch.float32 if dtype is torch.float32 else torch.float16
    length = num_blocks * _BLOCK_SIZE
    return KernelRunner(
        library, checkpoint.config, weights, length, num_blocks, _BLOCK_SIZE, cache_dtype, num_threads, SPIN_TURNS
    )


def _sequence(size: int, first_block: int) -> Sequence:
    neutral = Sampling(0.0, 0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, False, (), None, (), None, None, None)
    token_ids = [7 * place % 1000 for place in range(size)]
    request = TokenJob("", tuple(token_ids), 1, neutral, 1, 0, frozenset(), None, None, False)
    sequence = Sequence(Job(0, request, 0, 0.0), 0, [], token_ids, num_computed_tokens=size - 1)
    sequence.block_table = [first_block + number for number in range(-(-size // _BLOCK_SIZE))]
    return sequence


def _decoding(num_rows: int, context: int) -> Step:
    blocks = -(-context // _BLOCK_SIZE)
    return Step(sequences=tuple(_sequence(context, row * blocks) for row in range(num_rows)))


def _prompt(size: int) -> Step:
    return Step(chunks=(Chunk(_sequence(size, 0), 0, size),))


def _evaluation(runner: KernelRunner, step: Step) -> Callable[[], object]:
    rows = list(range(len(step.sequences))) or [step.num_chunk_tokens - 1]
    return lambda: runner.best(runner.evaluate(step), rows)


def _times(evaluations: list[Callable[[], object]], num_rounds: int) -> list[float]:
    """Seconds, middles of rounds in which they take turns."""
    times: list[list[float]] = [[] for _ in evaluations]
    for _ in range(num_rounds):
        for evaluate, own in zip(evaluations, times, strict=True):
            evaluate()
            start = time.perf_counter()
            evaluate()
            own.append(time.perf_counter() - start)
    return [statistics.median(each) for each in times]


if __name__ == "__main__":
    main()
