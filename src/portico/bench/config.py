"""What can be set on `portico bench`; every field is a flag."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from portico.bench.shapes import CHECKPOINT_DTYPES, SHAPES
from portico.bench.wires import WIRES
from portico.bench.workload import Lengths
from portico.core.option import option

TASKS = ("load", "frontend", "limits")
LOADS = ("closed", "open")


@dataclass(frozen=True, slots=True)
class BenchConfig:
    """Settings of `portico bench`.

    Raises:
        ValueError: settings do not fit together; the message is one sentence for the operator.
    """

    base_url: str | None = option(None, "a server that runs already; without it one is started", metavar="URL")
    dialect: str = option("openai", "what is spoken to the server", choices=tuple(WIRES))
    model: str = option("", "name of the model in requests; empty asks the server for it", metavar="NAME")
    api_key: str | None = option(None, "sent as a bearer token", metavar="KEY")
    vocab_size: int = option(1024, "tokens of the vocabulary of the server at --base-url", metavar="TOKENS")
    model_shape: str = option("tiny", "shape of the random checkpoint that is served", choices=tuple(SHAPES))
    checkpoint_dtype: str = option("bfloat16", "number format of its file", choices=CHECKPOINT_DTYPES)
    load: str = option(
        "closed", "closed: a fixed number of streams at once; open: requests arrive at random", choices=LOADS
    )
    concurrency: tuple[int, ...] = option((1, 8, 32), "streams at once, one load point each (closed)", metavar="N")
    rate: tuple[float, ...] = option(
        (1.0, 2.0, 4.0), "mean arrivals per second, one load point each (open)", metavar="RATE"
    )
    input_len: str = option("128", "tokens of a prompt: a number, or a range such as 64:256", metavar="TOKENS")
    output_len: str = option("64", "tokens of an answer: a number, or a range such as 32:128", metavar="TOKENS")
    num_requests: int | None = option(
        None, "requests of a load point; without it 4 for each stream and at least 8, or 32 (open)", metavar="N"
    )
    shared_prefix_len: int = option(0, "tokens before each prompt that all have in common", metavar="TOKENS")
    n: int = option(1, "choices of each request", metavar="N")
    seed: int = option(0, "of prompts, lengths, arrivals and weights")
    warmup: int = option(2, "requests before each load point that are not counted", metavar="N")
    rounds: int = option(3, "times that frontend measures each load; figures are medians", metavar="N")
    profile: bool = option(False, "show where the front end's time goes (frontend)")
    timeout: float = option(600.0, "time after which a request has failed", metavar="SECONDS")
    num_threads: int | None = option(
        None, "threads that the machine's limits are measured with; without it all cores", metavar="N"
    )
    limits: bool = option(True, "measure the machine's limits and show the share that was reached")
    cache_dir: str = option("~/.cache/portico/bench", "where random checkpoints are kept", metavar="DIRECTORY")
    json: str | None = option(None, "file that all figures are written to", metavar="FILE")
    plot: str | None = option(None, "SVG file that latency against throughput is drawn in", metavar="FILE")

    def __post_init__(self) -> None:
        for name in ("num_requests", "n", "num_threads", "rounds", "vocab_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is at least 1, not {value}.")
        if self.warmup < 0:
            raise ValueError(f"warmup is at least 0, not {self.warmup}.")
        if min(self.concurrency) < 1:
            raise ValueError(f"concurrency is at least 1, not {min(self.concurrency)}.")
        if min(self.rate) <= 0 or self.timeout <= 0:
            raise ValueError("rate and timeout are greater than 0.")
        if self.n > 1 and not WIRES[self.dialect].has_choices:
            raise ValueError(f"The dialect {self.dialect} streams one choice only; n is {self.n}.")
        if self.plot is not None and not self.plot.endswith(".svg"):
            raise ValueError(f"Plots are SVG files; {self.plot} does not end with .svg.")
        self.lengths()

    @property
    def cache(self) -> Path:
        """Where random checkpoints are kept."""
        return Path(self.cache_dir).expanduser()

    @property
    def levels(self) -> tuple[float, ...]:
        """The streams or rates of the load points."""
        return self.concurrency if self.load == "closed" else self.rate

    def lengths(self) -> tuple[Lengths, Lengths]:
        """Input and output lengths."""
        return Lengths.parse(self.input_len), Lengths.parse(self.output_len)

    def num_requests_at(self, level: float) -> int:
        """Requests of the load point at a level."""
        if self.num_requests is not None:
            return self.num_requests
        return max(4 * int(level), 8) if self.load == "closed" else 32
