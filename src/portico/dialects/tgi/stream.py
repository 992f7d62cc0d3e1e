"""Events to TGI's streams."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from portico.core.errors import PorticoError
from portico.core.events import Delta, Event, Finished, FinishReason, Started, Token
from portico.core.request import GenerationRequest
from portico.dialects import wire
from portico.dialects.tgi import errors
from portico.dialects.tgi.layout import Layout, finish_reason, last_token, reported_seed, top_tokens
from portico.dialects.tgi.schema import OutputToken, StreamDetails, StreamEvent


class TokenStream:
    """One event per token.

    The last token's event carries the whole text, so each token is held back until it is known whether another one
    follows.
    """

    media_type = "text/event-stream"

    def __init__(self, request: GenerationRequest, layout: Layout) -> None:
        self.headers: Mapping[str, str] = {"x-compute-characters": str(layout.num_characters)}
        self._request = request
        self._layout = layout
        self._held: Token | None = None
        self._text = ""
        self._num_shown = 0
        self._num_tokens = 0
        self._num_prompt_tokens = 0

    def feed(self, event: Event) -> bytes:
        """The tokens before the newest one, or the newest one with the whole text at the end."""
        match event:
            case Started():
                self._num_prompt_tokens = event.num_prompt_tokens[0]
            case Delta():
                self._text += event.text
                return b"".join(self._push(token) for token in event.tokens)
            case Finished():
                return self._finish(event)
        return b""

    def close(self) -> bytes:
        """Nothing: the stream ends by ending."""
        return b""

    def fail(self, error: PorticoError) -> bytes:
        """The token that was held back, and the error as an event."""
        return self._release() + wire.sse(errors.encode(error))

    def _push(self, token: Token) -> bytes:
        frame = self._release()
        self._held = token
        return frame

    def _release(self) -> bytes:
        token, self._held = self._held, None
        if token is None:
            return b""
        if not token.special:
            self._num_shown += len(token.text)
        return self._encode(token, OutputToken(token.id, token.text, token.logprob, token.special))

    def _finish(self, finished: Finished) -> bytes:
        token = self._held
        if token is None or finished.reason is FinishReason.ABORT:
            return self._release() + wire.sse(errors.incomplete("incomplete_generation_stream"))
        self._held = None
        shown = last_token(token, self._text[self._num_shown :])
        return self._encode(token, shown, self._layout.prefix + self._text, self._details(finished))

    def _details(self, finished: Finished) -> StreamDetails | None:
        if not self._layout.has_details:
            return None
        return StreamDetails(
            finish_reason=finish_reason(finished.reason, finished.stop),
            generated_tokens=self._num_tokens + 1,
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
