"""How often tokens occurred in a sequence, for penalties."""

from __future__ import annotations

from collections.abc import Sequence as Items

import numpy as np


class TokenCounts:
    """Counts of the tokens that occurred at all, which are few beside a vocabulary.

    The arrays `ids`, `prompt` and `output` are parallel; entries from `size` on are not used yet.
    """

    def __init__(self, prompt_ids: Items[int], max_tokens: int) -> None:
        ids, counts = np.unique(np.array(prompt_ids, dtype=np.int64), return_counts=True)
        capacity = len(ids) + max_tokens
        self.size = len(ids)
        self.num_tokens = len(prompt_ids)
        self.ids = np.zeros(capacity, dtype=np.int64)
        self.prompt = np.zeros(capacity, dtype=np.float32)
        self.output = np.zeros(capacity, dtype=np.float32)
        self.ids[: self.size] = ids
        self.prompt[: self.size] = counts
        self._places = {token_id: place for place, token_id in enumerate(ids.tolist())}

    def add(self, token_id: int) -> None:
        """Counts a token of the output."""
        place = self._places.get(token_id)
        if place is None:
            place = self._places[token_id] = self.size
            self.ids[place] = token_id
            self.size += 1
        self.output[place] += 1
        self.num_tokens += 1
