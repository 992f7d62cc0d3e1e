"""Which tokens a sequence may draw at all."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence as Items

import torch
from torch import Tensor

from portico.core.request import Sampling


class Restriction:
    """The allowed tokens and the banned sequences of one request.

    Banned sequences of one token are as good as tokens that are not allowed; longer ones depend on the output.
    """

    def __init__(self, sampling: Sampling, vocab_size: int, device: torch.device) -> None:
        forbidden = _forbidden_ids(sampling, vocab_size)
        self._forbidden = torch.tensor(sorted(forbidden), device=device) if forbidden else None
        self._banned = [ids for ids in sampling.banned_sequences if len(ids) > 1]

    def apply(self, scores: Tensor, output_ids: Items[int]) -> None:
        """Sets the scores [vocab] of tokens that may not follow the output to -inf."""
        if self._forbidden is not None:
            scores[self._forbidden] = -torch.inf
        for *beginning, last in self._banned:
            if list(output_ids[-len(beginning) :]) == beginning:
                scores[last] = -torch.inf


def is_restricted(sampling: Sampling) -> bool:
    """Whether there is anything to apply."""
    return sampling.allowed_token_ids is not None or bool(sampling.banned_sequences)


def leaves_nothing(sampling: Sampling, stop_token_ids: Collection[int], vocab_size: int) -> bool:
    """Whether no token could be drawn, with stop tokens forbidden too."""
    return len(_forbidden_ids(sampling, vocab_size) | set(stop_token_ids)) >= vocab_size


def _forbidden_ids(sampling: Sampling, vocab_size: int) -> set[int]:
    forbidden = {ids[0] for ids in sampling.banned_sequences if len(ids) == 1}
    if sampling.allowed_token_ids is not None:
        forbidden |= set(range(vocab_size)).difference(sampling.allowed_token_ids)
    return forbidden
