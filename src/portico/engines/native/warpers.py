"""The steps of sampling as functions of scores [rows, vocab] float32 and one value per row.

Each leaves rows independent of each other. What is dropped gets the score -inf; at least one token always stays.
"""

from __future__ import annotations

import torch
from torch import Tensor

# How much of a row is put in order at first, and if that is not enough.
_HEADS = (1024, 16384)


def penalise(
    scores: Tensor,
    prompt_counts: Tensor,
    output_counts: Tensor,
    num_tokens: Tensor,
    repetition: Tensor,
    presence: Tensor,
    frequency: Tensor,
    is_relative: Tensor,
) -> Tensor:
    """Repetition penalty over prompt and output (Keskar et al., arXiv 1909.05858), then presence and frequency.

    Args:
        scores: [n] of tokens that occurred, of whatever sequences; others have no penalty.
        prompt_counts, output_counts: [n] occurrences of each in the prompt and the output of its sequence.
        num_tokens: [n] length of both together.
        repetition, presence, frequency: [n] penalties of its sequence.
        is_relative: [n] bool; the frequency penalty counts prompt and output and is divided by their length, as TGI
            does.
    """
    scores = torch.where(scores < 0, scores * repetition, scores / repetition)
    scores = scores - presence * (output_counts > 0)
    shares = (prompt_counts + output_counts) / num_tokens
    return scores - frequency * torch.where(is_relative, shares, output_counts)


def keep_top_k(scores: Tensor, k: Tensor) -> Tensor:
    """Keeps the k [rows] int64 best tokens, and those as good as the last of them."""
    num_best = min(int(k.max()), scores.shape[1])
    best = scores.topk(num_best, dim=1).values
    last = best.gather(1, (k.clamp(max=num_best) - 1).unsqueeze(1))
    return scores.masked_fill(scores < last, -torch.inf)


def keep_top_p(scores: Tensor, p: Tensor) -> Tensor:
    """Keeps the best tokens up to a mass of p [rows] (Holtzman et al., arXiv 1904.09751)."""
    return _keep_mass(scores, scores, p)


def keep_typical(scores: Tensor, p: Tensor) -> Tensor:
    """Keeps the tokens whose surprise is nearest to the entropy, up to a mass of p [rows] (arXiv 2202.00666)."""
    logprobs = scores.log_softmax(1)
    entropy = -(logprobs * logprobs.exp()).nansum(1, keepdim=True)
    return _keep_mass(scores, -(-logprobs - entropy).abs(), p)


def keep_min_p(scores: Tensor, p: Tensor) -> Tensor:
    """Keeps tokens at least p [rows] times as likely as the best."""
    probs = scores.softmax(1)
    return scores.masked_fill(probs < p.unsqueeze(1) * probs.max(1, keepdim=True).values, -torch.inf)


def draw(scores: Tensor, uniforms: Tensor) -> Tensor:
    """Inverts the cumulative distribution at one uniform number in [0, 1) per row.

    Args:
        scores: [rows, vocab].
        uniforms: [rows] float64.

    Returns:
        [rows] token ids.
    """
    cumulative = scores.softmax(1).cumsum(1, dtype=torch.float64)
    total = cumulative[:, -1]
    # Below the total, whatever the rounding: behind the last step there may be only tokens of no probability.
    threshold = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    token_ids = torch.searchsorted(cumulative, threshold.unsqueeze(1), right=True).squeeze(1)
    return token_ids.clamp(max=scores.shape[1] - 1)


def _keep_mass(scores: Tensor, keys: Tensor, mass: Tensor) -> Tensor:
    """Keeps tokens in descending order of their keys until their probabilities reach the mass [rows].

    The head of the order is enough for most rows; sorting a whole vocabulary takes many times as long.
    """
    probs = scores.softmax(1)
    limit = mass.to(scores.dtype).unsqueeze(1)
    keep = torch.empty_like(probs, dtype=torch.bool)
    left = torch.arange(len(probs), device=probs.device)
    for size in (*(size for size in _HEADS if size < keys.shape[1]), keys.shape[1]):
        head = keys[left].topk(size, dim=1).indices
        keep[left] = _reach(probs[left], head, limit[left])
        left = left[probs[left].gather(1, head).sum(1) < mass[left]]
        if not len(left):
            break
    return scores.masked_fill(~keep, -torch.inf)


def _reach(probs: Tensor, order: Tensor, limit: Tensor) -> Tensor:
    ordered = probs.gather(1, order)
    before = ordered.cumsum(1) - ordered
    is_kept = before < limit
    is_kept[:, 0] = True
    return torch.zeros_like(probs, dtype=torch.bool).scatter_(1, order, is_kept)
