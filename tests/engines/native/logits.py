"""Compares what the engine says of every token, prompt and output, with what somebody else's code says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from portico.engines.native.config import NativeConfig
from portico.engines.native.startup import build
from tests.engines.native.core_driver import run_to_end
from tests.engines.native.jobs import job

# The logits [tokens, vocab] of a whole sequence, given the length of its prompt.
Expect = Callable[[list[int], int], Tensor]


def transformers_logits(model: Any) -> Expect:
    """By a model of transformers: the prompt at once, then token by token with its cache."""

    def expect(token_ids: list[int], num_prompt_tokens: int) -> Tensor:
        rows, cache, first = [], None, 0
        with torch.inference_mode():
            for last in range(num_prompt_tokens, len(token_ids) + 1):
                found = model(torch.tensor([token_ids[first:last]]), past_key_values=cache, use_cache=True)
                rows.append(found.logits[0])
                cache, first = found.past_key_values, last
        return torch.cat(rows)

    return expect


def found_logprobs(best: tuple[tuple[int, float], ...], vocab_size: int) -> Tensor:
    """[vocab] from the log-probabilities of all tokens."""
    row = torch.empty(vocab_size)
    for token_id, logprob in best:
        row[token_id] = logprob
    return row


def check_logprobs(path: Path, expect: Expect, num_prompt_tokens: int = 75, **settings: Any) -> None:
    """Runs a prompt and twenty greedy tokens; everything must be within 1e-4."""
    core, ready = build(path, NativeConfig(num_threads=1, device="cpu", **settings), lambda _: None)
    vocab_size = ready.info.vocab_size
    prompt = tuple((17 * place + 3) % vocab_size for place in range(num_prompt_tokens))

    [outcome] = run_to_end(core, [job(prompt, logprobs=vocab_size, prompt_logprobs=vocab_size, max_tokens=20)])

    output = outcome.token_ids[0]
    expected = expect([*prompt, *output], len(prompt)).float().log_softmax(1)
    [prefilled] = outcome.prefilled
    assert prefilled.logprobs[0] is None
    found = [*prefilled.logprobs[1:], *outcome.logprobs[0]]
    assert len(found) == len(prompt) - 1 + len(output)
    for place, entry in enumerate(found):
        assert entry is not None
        torch.testing.assert_close(found_logprobs(entry.best, vocab_size), expected[place], atol=1e-4, rtol=0)
        following = [*prompt, *output][place + 1]
        assert entry.logprob == pytest.approx(float(expected[place, following]), abs=1e-4)
        assert list(entry.best) == sorted(entry.best, key=lambda pair: -pair[1])
    assert output == [int(row.argmax()) for row in expected[len(prompt) - 1 : -1]]
