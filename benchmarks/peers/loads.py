"""The loads that servers are compared under, and the figure that each one is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from portico.bench.config import BenchConfig
from portico.bench.runner import LoadPoint


@dataclass(frozen=True, slots=True)
class Figure:
    """What a load is about; a ratio above 1 always means that this server is better."""

    name: str
    of: Callable[[LoadPoint], float]
    higher_is_better: bool

    def ratio(self, ours: float, theirs: float) -> float:
        """How many times better ours is."""
        return ours / theirs if self.higher_is_better else theirs / ours


OUTPUT_RATE = Figure("output tokens/s", lambda point: point.summary.output_throughput, True)
INPUT_RATE = Figure("input tokens/s", lambda point: point.summary.num_input_tokens / point.summary.duration, True)
FIRST_TOKEN = Figure("time to first token, s", lambda point: point.summary.first_token.median, False)


@dataclass(frozen=True, slots=True)
class Load:
    """One closed-loop load."""

    name: str
    figure: Figure
    streams: int
    input_len: int
    output_len: int
    num_requests: int
    shared_prefix_len: int = 0
    num_choices: int = 1

    def config(self, dialect: str, seed: int) -> BenchConfig:
        """The settings of the load generator."""
        return BenchConfig(
            dialect=dialect,
            concurrency=(self.streams,),
            input_len=str(self.input_len),
            output_len=str(self.output_len),
            num_requests=self.num_requests,
            shared_prefix_len=self.shared_prefix_len,
            n=self.num_choices,
            seed=seed,
            warmup=1,
        )


_ALL = (
    Load("1-stream", OUTPUT_RATE, 1, 16, 32, 3),
    Load("8-streams", OUTPUT_RATE, 8, 16, 32, 16),
    Load("32-streams", OUTPUT_RATE, 32, 16, 32, 64),
    Load("prefill-512", INPUT_RATE, 1, 512, 1, 3),
    Load("chat-32", OUTPUT_RATE, 32, 128, 64, 64),
    Load("prefix-1000", FIRST_TOKEN, 32, 32, 16, 64, shared_prefix_len=1000),
    Load("choices-1", FIRST_TOKEN, 1, 512, 16, 3),
    Load("choices-10", FIRST_TOKEN, 1, 512, 16, 3, num_choices=10),
    Load("many-64", OUTPUT_RATE, 64, 16, 128, 128),
)
LOADS = {load.name: load for load in _ALL}
