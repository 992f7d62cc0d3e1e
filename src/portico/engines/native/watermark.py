"""The soft watermark of Kirchenbauer et al. (arXiv 2301.10226), bit for bit as TGI draws it."""

from __future__ import annotations

import torch
from torch import Tensor

from portico.core.request import Watermark


def green_ids(watermark: Watermark, previous_token_id: int, vocab_size: int) -> Tensor:
    """The token ids [int(vocab * gamma)] that are favoured after a token.

    Always drawn on the CPU: a GPU's generator gives other numbers, and who looks for the watermark has none.
    """
    generator = torch.Generator().manual_seed(watermark.hash_key * previous_token_id % (1 << 64))
    return torch.randperm(vocab_size, generator=generator)[: int(vocab_size * watermark.gamma)]
