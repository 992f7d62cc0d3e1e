"""What the machine allows at most, and how much of it a load point reached."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from portico.bench.shapes import BYTES_OF_DTYPE, ModelShape
from portico.bench.workload import BenchRequest

# By the format of weights, what a number of keys and values takes unless something else was asked for.
_KV_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 2, "int4": 2}
# Four bits, and a scale of sixteen for 32 weights.
_WEIGHT_BYTES = {**BYTES_OF_DTYPE, "int4": 0.5625}
# What products of other formats are computed in.
_RATES = {"int4": "int8", "float16": "float32"}


@dataclass(frozen=True, slots=True)
class MachineLimits:
    """Ceilings of the processor.

    Attributes:
        num_threads: that they were measured with.
        memory_bandwidth: bytes read per second.
        gemm_rates: operations per second of matrix multiplication, by dtype.
    """

    num_threads: int
    memory_bandwidth: float
    gemm_rates: dict[str, float]

    def describe(self) -> str:
        """The ceilings in one line."""
        rates = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in self.gemm_rates.items())
        bandwidth = self.memory_bandwidth / 1e9
        return f"{self.num_threads} threads: memory read {bandwidth:.1f} GB/s, matrix products {rates} GFLOP/s"


class ProbeFailed(Exception):
    """The machine could not be measured; the message says why."""


def measure_limits(num_threads: int) -> MachineLimits:
    """Measures in a process of its own; takes some seconds.

    Raises:
        ProbeFailed: it did not work.
    """
    command = [sys.executable, "-m", "portico.bench.probe", "--threads", str(num_threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProbeFailed((done.stderr.strip().splitlines() or ["no output"])[-1])
    measured = json.loads(done.stdout)
    return MachineLimits(num_threads, measured.pop("memory_bandwidth"), measured)


def has_limits(dtype: str, machine: MachineLimits) -> bool:
    """Whether the limits for weights of a format are known."""
    return dtype in _KV_BYTES and _RATES.get(dtype, dtype) in machine.gemm_rates


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """The least time that a machine needs for a model whose weights are held in one dtype."""

    shape: ModelShape
    dtype: str
    machine: MachineLimits

    def seconds(self, requests: Iterable[BenchRequest], concurrency: int, shared_prefix_len: int) -> float:
        """For a closed loop, with the prompt of a request and the shared prefix evaluated once each.

        Prompts take their operations at the rate of matrix products. Decoding takes steps of all streams that run,
        each as long as reading the weights and the keys and values, or as multiplying with them, whichever is longer.
        """
        asked = list(requests)
        if not asked:
            return 0.0
        rate = self._rate
        prefill = sum(self._prompt_flops(each, shared_prefix_len) for each in asked) / rate
        if shared_prefix_len:
            prefill += self._span_flops(0, shared_prefix_len) / rate
        # The first token of a choice comes out of the prompt.
        later = sum((each.output_len - 1) * each.num_choices for each in asked)
        width = min(concurrency, len(asked)) * asked[0].num_choices
        context = sum(len(each.prompt_ids) + each.output_len / 2 for each in asked) / len(asked)
        return prefill + later / width * self._step_seconds(width, context)

    @property
    def _rate(self) -> float:
        return self.machine.gemm_rates[_RATES.get(self.dtype, self.dtype)]

    def _prompt_flops(self, request: BenchRequest, shared_prefix_len: int) -> float:
        return self._span_flops(shared_prefix_len, len(request.prompt_ids)) + 2.0 * self.shape.num_head_weights

    def _span_flops(self, begin: int, end: int) -> float:
        """Of the prompt's tokens from `begin` to `end`, each of which attends to those before it."""
        length, context = end - begin, (begin + end) / 2
        return length * (2.0 * self.shape.num_layer_weights + self.shape.attention_flops(context))

    def _step_seconds(self, width: int, context: float) -> float:
        weights = self.shape.num_layer_weights + self.shape.num_head_weights
        num_bytes = float(weights * _WEIGHT_BYTES[self.dtype])
        num_bytes += width * self.shape.kv_bytes(context, _KV_BYTES[self.dtype])
        flops = width * (2.0 * weights + self.shape.attention_flops(context))
        return max(num_bytes / self.machine.memory_bandwidth, flops / self._rate)
