"""Which tokens a sequence may draw at all."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence as Items

import torch
from torch import Tensor

from portico.core.request import Sampling


class Restriction:
    """The allowed tokens and the banned sequences of one request."""

    def __init__(self, sampling: Sampling, vocab_size: int, device: torch.device) -> None:
        self._forbidden = None
        if sampling.allowed_token_ids is not None:
            forbidden = sorted(set(range(vocab_size)).difference(sampling.allowed_token_ids))
            self._forbidden = torch.tensor(forbidden, dtype=torch.int64, device=device)
        singles = sorted({ids[0] for ids in sampling.banned_sequences if len(ids) == 1})
        self._singles = torch.tensor(singles, dtype=torch.int64, device=device)
        self._banned = [ids for ids in sampling.banned_sequences if len(ids) > 1]

    def forbid(self, scores: Tensor) -> None:
        """Sets the scores [vocab] of tokens that are not allowed to -inf."""
        if self._forbidden is not None:
            scores[self._forbidden] = -torch.inf

    def ban(self, scores: Tensor, output_ids: Items[int]) -> None:
        """Sets the scores [vocab] of tokens that would complete a banned sequence to -inf, unless nothing else is left.

        Everything else that forbids tokens must have been applied.
        """
        ends = [last for *beginning, last in self._banned if list(output_ids[-len(beginning) :]) == beginning]
        ids = torch.cat((self._singles, self._singles.new_tensor(ends))) if ends else self._singles
        if not len(ids):
            return
        before = scores[ids]
        scores[ids] = -torch.inf
        if scores.amax() == -torch.inf:
            scores[ids] = before


def is_restricted(sampling: Sampling) -> bool:
    """Whether there is anything to apply."""
    return sampling.allowed_token_ids is not None or bool(sampling.banned_sequences)


def leaves_nothing(sampling: Sampling, stop_token_ids: Collection[int], vocab_size: int) -> bool:
    """Whether no token could be drawn at first, with stop tokens forbidden too."""
    forbidden = {*stop_token_ids, *(ids[0] for ids in sampling.banned_sequences if len(ids) == 1)}
    allowed = range(vocab_size) if sampling.allowed_token_ids is None else sampling.allowed_token_ids
    return all(token_id in forbidden for token_id in allowed)
