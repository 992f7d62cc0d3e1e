"""Events to TGI's streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from portico.core.errors import PorticoError
from portico.core.events import Delta, Event, Finished, FinishReason, Started, Token
from portico.core.request import GenerationRequest
from portico.dialects import wire
from portico.dialects.tgi import errors
from portico.dialects.tgi.layout import Layout, last_token, reported_seed, top_tokens
from portico.dialects.tgi.schema import OutputToken, StreamDetails, StreamEvent


class TokenStream:
    """One event per token; the last token's carries the whole text."""

    media_type = "text/event-stream"
    # A comment, which readers of events skip.
    keep_alive = b":\n\n"

    def __init__(self, request: GenerationRequest, layout: Layout) -> None:
        self.headers: Mapping[str, str] = {
            "x-compute-type": layout.profile.compute_type,
            "x-compute-characters": str(layout.num_characters),
        }
        self._request = request
        self._layout = layout
        self._text = ""
        self._num_shown = 0
        self._num_tokens = 0
        self._num_prompt_tokens = 0

    def feed(self, events: Sequence[Event]) -> bytes:
        """The tokens that have come, the last one of the choice with the whole text."""
        tokens: list[Token] = []
        finished: Finished | None = None
        for event in events:
            match event:
                case Started():
                    self._num_prompt_tokens = event.num_prompt_tokens[0]
                case Delta():
                    self._text += event.text
                    tokens += event.tokens
                case Finished():
                    finished = event
        if finished is None:
            return b"".join(map(self._show, tokens))
        if not tokens or finished.reason is FinishReason.ABORT:
            frames = b"".join(map(self._show, tokens))
            return frames + wire.sse(errors.incomplete("incomplete_generation_stream"))
        return b"".join(map(self._show, tokens[:-1])) + self._finish(tokens[-1], finished)

    def close(self) -> bytes:
        """Nothing: the stream ends by ending."""
        return b""

    def fail(self, error: PorticoError) -> bytes:
        """The error as an event."""
        return wire.sse(errors.encode(error))

    def _show(self, token: Token) -> bytes:
        if not token.special:
            self._num_shown += len(token.text)
        return self._encode(token, OutputToken(token.id, token.text, token.logprob, token.special))

    def _finish(self, token: Token, finished: Finished) -> bytes:
        shown = last_token(token, self._text[self._num_shown :])
        return self._encode(token, shown, self._layout.prefix + self._text, self._details(finished))

    def _details(self, finished: Finished) -> StreamDetails | None:
        if not self._layout.has_details:
            return None
        num_tokens = self._num_tokens + 1
        return StreamDetails(
            finish_reason=self._layout.finish_reason(finished.reason, finished.stop, num_tokens),
            generated_tokens=num_tokens,
            seed=reported_seed(self._request, finished.seed),
            input_length=self._num_prompt_tokens,
        )

    def _encode(
        self, token: Token, shown: OutputToken, text: str | None = None, details: StreamDetails | None = None
    ) -> bytes:
        self._num_tokens += 1
        count = self._layout.top_n_tokens
        event = StreamEvent(
            index=self._num_tokens,
            token=shown,
            top_tokens=top_tokens(token, count) if count else msgspec.UNSET,
            generated_text=text,
            details=details,
        )
        return wire.sse(wire.encode_json(event))
