"""How fast the latest requests were answered, for metadata routes that report it."""

from __future__ import annotations

from collections import deque

from portico.core.model import RecentLatencies
from portico.core.observer import RequestRecord

_NUM_REQUESTS = 1000


class Latencies:
    """An observer that keeps the times of the latest requests."""

    def __init__(self) -> None:
        self._first_token: deque[float] = deque(maxlen=_NUM_REQUESTS)
        self._between_tokens: deque[float] = deque(maxlen=_NUM_REQUESTS)

    def on_end(self, record: RequestRecord) -> None:
        """Keeps the times of a request that has brought tokens."""
        if record.first_token_at is None or record.last_token_at is None:
            return
        self._first_token.append(record.first_token_at - record.received_at)
        if record.num_output_tokens > 1:
            self._between_tokens.append((record.last_token_at - record.first_token_at) / (record.num_output_tokens - 1))

    def means(self) -> RecentLatencies:
        """What it comes to."""
        return RecentLatencies(_mean(self._first_token), _mean(self._between_tokens))


def _mean(values: deque[float]) -> float:
    return sum(values) / len(values) if values else 0.0
