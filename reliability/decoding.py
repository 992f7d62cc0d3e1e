"""The native engine with many sequences at once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from typing import Any

from portico.bench.random_checkpoint import make_checkpoint
from portico.bench.shapes import ModelShape
from portico.bench.vocabulary import word, word_ids
from reliability.check import Check, Result, Settings
from reliability.outcome import Kind, unexpected
from reliability.server import Server, run_server
from reliability.spoken import CHAT, COMPLETION, ENDLESS, Spoken, SpokenDialect
from reliability.traffic import in_ms, median, prompts, send

# Large enough that arithmetic is what takes time, and small enough to be made in a second.
_SHAPE = ModelShape("joiner", 512, 8, 8, 4, 1408, 8192, True, max_position=8192)
_NUM_DECODERS, _PREFILL_LEN, _NUM_JOINS = 7, 4096, 3


async def _decode(server: Server, prompt: str, num_tokens: int) -> list[float]:
    """Gaps between the tokens of one stream."""
    spoken = Spoken(COMPLETION, prompt, num_tokens, is_streamed=True, extra=(*ENDLESS, ("model", "joiner")))
    outcome = await send(server, spoken, timeout=300.0)
    assert outcome.answer.status == 200, outcome.answer.text
    return outcome.answer.gaps


@dataclass(frozen=True)
class _Join:
    """What the streams noticed of a prompt that joined them."""

    longest_gap: float
    median_gap: float
    prompt_seconds: float

    @property
    def ratio(self) -> float:
        return self.longest_gap / self.median_gap


async def _join(server: Server, words: list[str], seed: int) -> _Join:
    decoders = [asyncio.create_task(_decode(server, words[each], 160)) for each in range(_NUM_DECODERS)]
    await asyncio.sleep(1.0)
    long = "".join(words[(7 * place + seed) % len(words)] for place in range(_PREFILL_LEN))
    spoken = Spoken(COMPLETION, long, 1, is_streamed=True, extra=(("model", "joiner"),))
    joiner = await send(server, spoken, timeout=300.0)
    assert joiner.answer.status == 200, joiner.answer.text
    gaps = [gap for each in await asyncio.gather(*decoders) for gap in each]
    return _Join(max(gaps), median(gaps), joiner.answer.first_part_seconds)


async def _check_joining_prompt(settings: Settings) -> Result:
    path = settings.directory / "joiner"
    path.mkdir(exist_ok=True)
    make_checkpoint(_SHAPE, "float32", 1, path, None)
    words = [word(each) for each in word_ids(_SHAPE.vocab_size)]
    flags = (str(path), "--served-model-name", "joiner", "--max-num-seqs", "8")
    async with run_server(settings, *flags, engine="native") as server:
        # The longest of a thousand gaps may be one of the machine's.
        joins = sorted([await _join(server, words, seed) for seed in range(_NUM_JOINS)], key=lambda each: each.ratio)
    middle = joins[_NUM_JOINS // 2]
    problems = []
    if middle.ratio > 4.0 * settings.slack:
        problems.append(
            f"the longest gap between tokens, {in_ms(middle.longest_gap)}, is {middle.ratio:.0f} times the median"
        )
    return Result.judge(
        f"{_PREFILL_LEN} tokens join {_NUM_DECODERS} streams: longest gap {in_ms(middle.longest_gap)}, median "
        f"{in_ms(middle.median_gap)}, the prompt itself {middle.prompt_seconds:.1f} s; the middle of {_NUM_JOINS}, "
        f"whose gaps are {joins[0].ratio:.1f} to {joins[-1].ratio:.1f} times the median",
        problems,
    )


def _with_reason(dialect: SpokenDialect) -> SpokenDialect:
    """The same dialect, with the reason of the end behind the text."""

    def read(parsed: Any, prompt: str) -> str:
        return dialect.read_whole(parsed, prompt) + json.dumps(parsed["choices"][0]["finish_reason"])

    return replace(dialect, read_whole=read)


async def _check_same_text(settings: Settings) -> Result:
    number = settings.pick(500, 60)
    dialects = (_with_reason(CHAT), _with_reason(COMPLETION))
    async with run_server(settings, "--max-num-seqs", "8", "--max-waiting", "1000", engine="native") as server:
        asked = [
            Spoken(dialects[index % 2], prompt, 16 + index % 40, is_streamed=False)
            for index, prompt in enumerate(prompts(number))
        ]
        serial = []
        for spoken in asked:
            answer = (await send(server, spoken)).answer
            serial.append(spoken.expecting(spoken.read(answer.body)))
        together = await asyncio.gather(*(send(server, each, timeout=300.0) for each in serial))
    num_stopped = sum('"stop"' in each.expected for each in serial)
    num_same = sum(each.kind is Kind.OK for each in together)
    return Result.judge(
        f"{num_same} of {number} the same text and reason of the end ({num_stopped} by stop)",
        unexpected(together, Kind.OK),
    )


CHECKS = (
    Check(
        "L6",
        "Load",
        "A long prompt joins",
        "a prompt of 4,096 tokens joins 7 streams: their longest gap between tokens is at most 4 times the median "
        "in the middle one of three runs",
        _check_joining_prompt,
        uses_model=True,
    ),
    Check(
        "L10",
        "Load",
        "Together as alone",
        "500 greedy requests, 8 at once, have all the text and the reason of the end that each has alone",
        _check_same_text,
        uses_model=True,
    ),
)
