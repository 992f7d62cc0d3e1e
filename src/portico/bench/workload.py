"""What is asked: prompts and lengths drawn from a seed, and when they arrive."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from portico.bench.vocabulary import word


@dataclass(frozen=True, slots=True)
class Lengths:
    """A number of tokens, or a range that numbers are drawn from evenly, ends included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            raise ValueError(f"A length is at least 1 and a range goes upwards, unlike {self}.")

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}:{self.high}"

    @classmethod
    def parse(cls, text: str) -> Lengths:
        """Reads `128` or `64:256`.

        Raises:
            ValueError: it is neither.
        """
        low, separator, high = text.partition(":")
        if not low.isdecimal() or (separator and not high.isdecimal()):
            raise ValueError(f"A length is a number such as 128 or a range such as 64:256, not {text!r}.")
        return cls(int(low), int(high if separator else low))

    def draw(self, generator: random.Random) -> int:
        """One length."""
        return generator.randint(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Workload:
    """What all requests of a run have in common.

    Attributes:
        shared_prefix_len: tokens at the start of every prompt, in addition to those of `input_len`, that are the same
            in all of one load point.
        num_choices: `n` of each request; more than one are drawn at temperature 1.
        token_ids: the ids that prompts are made of.
    """

    input_len: Lengths
    output_len: Lengths
    shared_prefix_len: int
    num_choices: int
    seed: int
    token_ids: range

    def __post_init__(self) -> None:
        if self.shared_prefix_len < 0:
            raise ValueError(f"shared_prefix_len is at least 0, not {self.shared_prefix_len}.")
        if self.num_choices < 1:
            raise ValueError(f"n is at least 1, not {self.num_choices}.")
        if not self.token_ids:
            raise ValueError("The vocabulary is too small to make prompts of.")


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """One request: its prompt and how many tokens each choice is to have."""

    prompt_ids: tuple[int, ...]
    output_len: int
    num_choices: int
    seed: int

    @property
    def prompt_text(self) -> str:
        """The prompt in words of the synthetic vocabulary."""
        return "".join(map(word, self.prompt_ids))

    @property
    def num_output_tokens(self) -> int:
        """Tokens of all choices."""
        return self.output_len * self.num_choices


def make_requests(workload: Workload, num_requests: int, part: str) -> list[BenchRequest]:
    """The requests of one part of a run, always the same for a seed and a part.

    Parts have prompts of their own, so that no server can answer one from what it cached in another.
    """
    generator = random.Random(f"{workload.seed}/{part}")
    prefix = generator.choices(workload.token_ids, k=workload.shared_prefix_len)
    requests = []
    for _ in range(num_requests):
        own = generator.choices(workload.token_ids, k=workload.input_len.draw(generator))
        requests.append(
            BenchRequest(
                (*prefix, *own),
                workload.output_len.draw(generator),
                workload.num_choices,
                generator.getrandbits(31),
            )
        )
    return requests


def arrival_times(num_requests: int, rate: float, seed: int) -> Sequence[float]:
    """Seconds from the start at which requests arrive: a Poisson process of `rate` per second.

    Of such processes it is one that has as many arrivals as it should, so that few requests are not offered faster or
    slower than the rate says: the last arrives after `num_requests` mean gaps.
    """
    generator = random.Random(f"{seed}/arrivals/{rate}")
    times = list(accumulate(generator.expovariate(1.0) for _ in range(num_requests)))
    return [time / times[-1] * num_requests / rate for time in times]
