"""Log-probabilities in the form that events carry."""

from __future__ import annotations

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
        found += runner.drawing.describe(logits, targets, [num_best] * len(targets))
    return found
