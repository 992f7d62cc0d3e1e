"""Counts of all generating requests since the start, for metadata routes that report them."""

from __future__ import annotations

import time
from dataclasses import replace

from portico.core.errors import NotReady, Overloaded
from portico.core.model import RequestCounts
from portico.core.observer import Outcome, RequestRecord

_REJECTIONS = (Overloaded.__name__, NotReady.__name__)


class Statistics:
    """An observer that adds up what requests took; `counts` is what it has come to."""

    def __init__(self) -> None:
        self.counts = RequestCounts()

    def on_end(self, record: RequestRecord) -> None:
        """Counts a request that is over; what the client must change and what generates nothing is left out."""
        before = self.counts
        if record.started_at is None or record.ended_at is None:
            if record.error_kind in _REJECTIONS:
                self.counts = replace(before, num_rejected=before.num_rejected + 1)
            return
        if record.outcome is not Outcome.ANSWERED:
            is_cancelled = record.outcome is Outcome.CANCELLED
            self.counts = replace(
                before,
                num_failed=before.num_failed + (not is_cancelled),
                num_cancelled=before.num_cancelled + is_cancelled,
                failed_seconds=before.failed_seconds + record.ended_at - record.received_at,
            )
            return
        generated_at = record.last_token_at or record.ended_at
        # The engine's clock may have begun a little before this one.
        queue = min(record.queue_time or 0.0, max(generated_at - record.started_at, 0.0))
        self.counts = replace(
            before,
            num_answered=before.num_answered + 1,
            last_answered_at=time.time(),
            answered_seconds=before.answered_seconds + record.ended_at - record.received_at,
            prepare_seconds=before.prepare_seconds + record.started_at - record.received_at,
            queue_seconds=before.queue_seconds + queue,
            generate_seconds=before.generate_seconds + generated_at - record.started_at - queue,
            deliver_seconds=before.deliver_seconds + record.ended_at - generated_at,
        )
