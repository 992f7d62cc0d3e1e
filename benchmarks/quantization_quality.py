"""What quantised products cost in quality: `python -m benchmarks.quantization_quality [CHECKPOINT] [--dtype int4]`.

Both formats read the same text, which float32 wrote: greedy continuations of prompts, from the demo model's cases or,
for another checkpoint, of random tokens. Printed are how often the best token is the same, how far the
log-probabilities of the text are apart, and how many continuations are the same to their end.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

import portico.demo
from demo.cases import all_cases, render
from portico.core.engine import PromptPrefilled, TokenJob, TokenLogprobs
from portico.core.request import Sampling
from portico.engines.native.config import NativeConfig
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.startup import build

DEMO = Path(portico.demo.__path__[0]) / "checkpoint"
GREEDY = Sampling(
    temperature=0.0,
    top_k=0,
    top_p=1.0,
    typical_p=1.0,
    min_p=0.0,
    repetition_penalty=1.0,
    presence_penalty=0.0,
    frequency_penalty=0.0,
    frequency_penalty_is_relative=False,
    logit_bias=(),
    allowed_token_ids=None,
    banned_sequences=(),
    watermark=None,
    seed=0,
    grammar=None,
)


@dataclass(frozen=True)
class Reading:
    """Per prompt: the greedy continuation, and the log-probabilities of another text of prompt and continuation."""

    outputs: list[list[int]]
    places: list[tuple[TokenLogprobs | None, ...]]


def run(core: EngineCore, prompts: Sequence[Sequence[int]], max_tokens: int, stops: frozenset[int]) -> Reading:
    """Runs one greedy job per prompt; without `max_tokens` the prompts are read with log-probabilities."""
    for handle, prompt in enumerate(prompts):
        wanted = None if max_tokens else 1
        core.add(handle, TokenJob(str(handle), tuple(prompt), 1, GREEDY, max_tokens, 0, stops, None, wanted, False))
    outputs: list[list[int]] = [[] for _ in prompts]
    places: list[PromptPrefilled | None] = [None] * len(prompts)
    while core.has_work:
        done = core.step()
        for handle, token_id in zip(done.handles, done.token_ids, strict=True):
            outputs[handle].append(token_id)
        for handle, prefilled in done.prefilled:
            places[handle] = prefilled
    return Reading(outputs, [each.logprobs if each else () for each in places])


def prompts_of(path: Path, count: int) -> list[list[int]]:
    """Token ids of prompts."""
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    chooser = random.Random(3)
    if path != DEMO:
        vocab_size = tokenizer.get_vocab_size()
        return [[chooser.randrange(vocab_size) for _ in range(64)] for _ in range(count)]
    cases = chooser.sample(all_cases(), count)
    texts = [each.prompt if isinstance(each.prompt, str) else render(each.prompt) for each in cases]
    return [tokenizer.encode(text).ids for text in texts]


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=DEMO, help="folder of the checkpoint")
    parser.add_argument("--prompts", type=int, default=200, help="number of prompts")
    parser.add_argument("--max-tokens", type=int, default=48, help="tokens that continue each prompt")
    parser.add_argument("--dtype", choices=("int8", "int4"), default="int8", help="what is compared with float32")
    arguments = parser.parse_args()
    prompts = prompts_of(arguments.checkpoint, arguments.prompts)
    core, ready = build(arguments.checkpoint, NativeConfig(dtype="float32", device="cpu"), lambda _: None)
    stops = frozenset(ready.info.eos_token_ids)
    written = run(core, prompts, arguments.max_tokens, stops).outputs
    texts = [prompt + output for prompt, output in zip(prompts, written, strict=True)]
    exact = run(core, texts, 0, stops).places
    del core
    core, _ = build(arguments.checkpoint, NativeConfig(dtype=arguments.dtype, device="cpu"), lambda _: None)
    outputs = run(core, prompts, arguments.max_tokens, stops).outputs
    same = sum(one == other for one, other in zip(outputs, written, strict=True))
    rounded = run(core, texts, 0, stops).places
    pairs = [
        (one, other)
        for prompt, ones, others in zip(prompts, exact, rounded, strict=True)
        for one, other in zip(ones[len(prompt) :], others[len(prompt) :], strict=True)
        if one is not None and other is not None
    ]
    agreement = sum(one.best[0][0] == other.best[0][0] for one, other in pairs) / len(pairs)
    differences = [other.logprob - one.logprob for one, other in pairs]
    print(f"tokens that float32 wrote      {len(pairs)}")
    print(f"best token is the same         {agreement:.2%}")
    print(f"mean change of log-probability {sum(differences) / len(pairs):+.4f}")
    print(f"mean distance of the same      {sum(map(abs, differences)) / len(pairs):.4f}")
    print(f"continuations that are equal   {same / len(prompts):.1%} of {len(prompts)}")


if __name__ == "__main__":
    main()
