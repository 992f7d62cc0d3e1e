"""Answers of `POST /generate`: an object with the list of texts, whole or once per update.

Source: vLLM's demonstration API server; MindIE Service's EndPoint API, vLLM interface.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from portico.core.dialect import Reply
from portico.core.errors import PorticoError
from portico.core.events import Choice, Delta, Event, Result
from portico.core.request import GenerationRequest
from portico.dialects import wire
from portico.dialects.vllm.profile import Profile


@dataclass(frozen=True, slots=True)
class GenerateExchange:
    """A request and its answer; `num_returned` choices are given, the likeliest of them all with `is_ranked`."""

    request: GenerationRequest
    profile: Profile
    prompt: str
    num_returned: int
    is_ranked: bool

    def reply(self, result: Result) -> Reply:
        """Each choice with the prompt before it."""
        choices = result.choices
        if self.is_ranked:
            choices = tuple(sorted(choices, key=_cumulative_logprob, reverse=True))
        before = self.prompt + self.profile.separator
        texts = [before + choice.text for choice in choices[: self.num_returned]]
        return Reply(200, wire.encode_json({"text": texts}))

    def encoder(self) -> GenerateEncoder:
        """An encoder of one object per update."""
        return GenerateEncoder(self)


class GenerateEncoder:
    """One object per update, with a text for every choice: all of it so far, or what is new of one choice.

    Texts are kept as they are escaped, so that each piece is escaped once.
    """

    keep_alive = b""
    headers: Mapping[str, str] = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

    def __init__(self, exchange: GenerateExchange) -> None:
        self._profile = exchange.profile
        self.media_type = self._profile.stream_media_type
        self._is_silent = True
        before = _escape(exchange.prompt) if self._profile.repeats_text else b""
        self._texts = [before] * exchange.request.num_choices

    def feed(self, events: Sequence[Event]) -> bytes:
        """The object of each update that has text."""
        return b"".join(
            self._delta(event.index, event.text) for event in events if isinstance(event, Delta) and event.text
        )

    def close(self) -> bytes:
        """Nothing, or the one object of an answer that has no text at all."""
        return self._frame() if self._is_silent else b""

    def fail(self, error: PorticoError) -> bytes:
        """The error as one more object."""
        return wire.one_line(self._profile.refuse(error).body) + self._profile.delimiter

    def _delta(self, index: int, text: str) -> bytes:
        self._is_silent = False
        before = self._texts[index]
        self._texts[index] = before + _escape(text)
        frame = self._frame()
        if not self._profile.repeats_text:
            self._texts[index] = before
        return frame

    def _frame(self) -> bytes:
        return b'{"text":["' + b'","'.join(self._texts) + b'"]}' + self._profile.delimiter


def _escape(text: str) -> bytes:
    return wire.one_line(wire.encode_json(text))[1:-1]


def _cumulative_logprob(choice: Choice) -> float:
    return sum(token.logprob for token in choice.tokens if token.logprob is not None)
