"""Log-probabilities in the form that events carry."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from portico.core.engine import TokenLogprobs
from portico.engines.native.model_runner import ModelRunner

# Logits of a long prompt at once could take more memory than the weights.
_ROWS_AT_ONCE = 64


@torch.inference_mode()
def following_logprobs(
    runner: ModelRunner, hidden: Tensor, token_ids: Sequence[int], num_best: int
) -> list[TokenLogprobs]:
    """Log-probabilities of the tokens that follow the first rows of hidden states [rows, hidden], one of each."""
    found: list[TokenLogprobs] = []
    for start in range(0, len(token_ids), _ROWS_AT_ONCE):
        targets = list(token_ids[start : start + _ROWS_AT_ONCE])
        logits = runner.logits(hidden, list(range(start, start + len(targets)))).float()
        found += token_logprobs(logits.log_softmax(1), targets, [num_best] * len(targets))
    return found


def token_logprobs(logprobs: Tensor, token_ids: list[int], num_best: list[int]) -> list[TokenLogprobs]:
    """Reads what was asked for out of whole distributions.

    Args:
        logprobs: [rows, vocab] float32, natural logarithms.
        token_ids: per row the token that stands there.
        num_best: per row how many of the most likely tokens to give; tokens of no probability are never given.
    """
    ids = torch.tensor(token_ids, device=logprobs.device).unsqueeze(1)
    chosen = logprobs.gather(1, ids)
    ranks = (logprobs >= chosen).sum(1).tolist()
    width = min(max(num_best), logprobs.shape[1])
    values, indices = logprobs.topk(width, dim=1)
    rows = zip(chosen.squeeze(1).tolist(), ranks, indices.tolist(), values.tolist(), num_best, strict=True)
    return [
        TokenLogprobs(
            logprob, rank, tuple((i, v) for i, v in zip(best_ids[:num], best[:num], strict=True) if not math.isinf(v))
        )
        for logprob, rank, best_ids, best, num in rows
    ]
