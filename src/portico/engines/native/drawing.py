"""Turns rows of scores into tokens, once penalties, masks and the like have been applied."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from portico.core.engine import TokenLogprobs
from portico.engines.native import warpers


@dataclass(frozen=True, slots=True)
class Choice:
    """How a token is drawn from a row.

    Attributes:
        temperature: above 0; the others are those of `core.request.Sampling`, and apply in this order.
        uniform: in [0, 1), which of what is left is drawn; None for the best token, whatever the others are.
        num_shown: how many of the best tokens are shown with log-probabilities, besides the drawn one; None for
            nothing at all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    typical_p: float = 1.0
    min_p: float = 0.0
    uniform: float | None = None
    num_shown: int | None = None


class Draw(NamedTuple):
    """A drawn token; `logprobs` is None when none were asked for."""

    token_id: int
    logprobs: TokenLogprobs | None


class Drawing(Protocol):
    """Draws where the scores are."""

    def draw(self, scores: Tensor, choices: Sequence[Choice]) -> list[Draw]:
        """One token for each row of scores [rows, vocab] float32; a score of -inf is never drawn.

        What a row draws depends on itself and its choice alone. Log-probabilities are those of what it is drawn from.
        """

    def describe(self, scores: Tensor, token_ids: Sequence[int], num_best: Sequence[int]) -> list[TokenLogprobs]:
        """Log-probabilities of tokens that stand in rows of scores [rows, vocab] float32, one of each.

        Args:
            num_best: per row how many of the most likely tokens to give; tokens of no probability are never given.
        """


class TorchDrawing:
    """By PyTorch's operations, on any device."""

    def draw(self, scores: Tensor, choices: Sequence[Choice]) -> list[Draw]:
        """See `Drawing`."""
        token_ids = best_ids(scores)
        drawn = [(row, choice, choice.uniform) for row, choice in enumerate(choices) if choice.uniform is not None]
        if drawn:
            rows = torch.tensor([row for row, _, _ in drawn], device=scores.device)
            warped = warp(scores[rows], [choice for _, choice, _ in drawn])
            uniforms = torch.tensor([uniform for _, _, uniform in drawn], dtype=torch.float64, device=scores.device)
            for row, token_id in zip(rows.tolist(), warpers.draw(warped, uniforms).tolist(), strict=True):
                token_ids[row] = token_id
            if any(choice.num_shown is not None for _, choice, _ in drawn):
                scores = scores.index_copy(0, rows, warped)
        shown = [(row, choice.num_shown) for row, choice in enumerate(choices) if choice.num_shown is not None]
        logprobs: dict[int, TokenLogprobs] = {}
        if shown:
            places = [row for row, _ in shown]
            found = self.describe(scores[places], [token_ids[row] for row in places], [num for _, num in shown])
            logprobs.update(zip(places, found, strict=True))
        return [Draw(token_id, logprobs.get(row)) for row, token_id in enumerate(token_ids)]

    def describe(self, scores: Tensor, token_ids: Sequence[int], num_best: Sequence[int]) -> list[TokenLogprobs]:
        """See `Drawing`."""
        logprobs = scores.log_softmax(1)
        chosen = logprobs.gather(1, torch.tensor(token_ids, device=logprobs.device).unsqueeze(1))
        ranks = (logprobs >= chosen).sum(1).tolist()
        values, indices = logprobs.topk(min(max(num_best), logprobs.shape[1]), dim=1)
        rows = zip(chosen.squeeze(1).tolist(), ranks, indices.tolist(), values.tolist(), num_best, strict=True)
        return [
            TokenLogprobs(
                logprob, rank, tuple((i, v) for i, v in zip(ids[:num], best[:num], strict=True) if not math.isinf(v))
            )
            for logprob, rank, ids, best, num in rows
        ]


def best_ids(scores: Tensor) -> list[int]:
    """The token id with the highest score of each row, the first one of equals."""
    # On a CPU numpy finds it six times as fast, which for 32 rows of a large vocabulary is milliseconds.
    best: list[int] = scores.numpy().argmax(1).tolist() if scores.device.type == "cpu" else scores.argmax(1).tolist()
    return best


def warp(scores: Tensor, choices: Sequence[Choice]) -> Tensor:
    """Scores [rows, vocab] divided by the temperatures, and -inf where tokens are not among those to draw from."""
    device = scores.device
    scores = scores / torch.tensor([each.temperature for each in choices], device=device).unsqueeze(1)
    most = scores.shape[1]
    steps: tuple[tuple[Callable[[Tensor, Tensor], Tensor], list[tuple[int, float]]], ...] = (
        (warpers.keep_top_k, [(row, min(each.top_k, most)) for row, each in enumerate(choices) if each.top_k]),
        (warpers.keep_top_p, [(row, each.top_p) for row, each in enumerate(choices) if each.top_p < 1]),
        (warpers.keep_typical, [(row, each.typical_p) for row, each in enumerate(choices) if each.typical_p < 1]),
        (warpers.keep_min_p, [(row, each.min_p) for row, each in enumerate(choices) if each.min_p > 0]),
    )
    for keep, asked in steps:
        if asked:
            rows = torch.tensor([row for row, _ in asked], device=device)
            scores[rows] = keep(scores[rows], torch.tensor([value for _, value in asked], device=device))
    return scores
