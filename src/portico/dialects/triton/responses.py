"""Events to responses: what the model says at one time about all choices, before any form is given to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from portico.core.events import Choice, Delta, Event, Finished, FinishReason, Result, Started, Token, fold


# Both are made for every token; frozen ones take four times as long to make.
@dataclass(slots=True)
class Part:
    """What one response says about one choice.

    `num_tokens` and `tokens` are new in this response, `total_tokens` and `logprob` are of the choice so far.
    """

    text: str
    num_tokens: int
    tokens: tuple[Token, ...]
    total_tokens: int
    logprob: float
    reason: FinishReason | None
    detailed_reason: str | None


@dataclass(slots=True)
class Response:
    """One response of the model; nothing follows the final one."""

    model: str
    num_input_tokens: int
    parts: tuple[Part, ...]
    is_final: bool


class ResponseReader(Protocol):
    """Turns the events of one request into responses."""

    def take(self, event: Event) -> list[Response]:
        """The responses that are due with an event."""

    def flush(self) -> list[Response]:
        """What is held back."""


def whole_response(result: Result, prefix: str) -> Response:
    """All of an answer; `prefix` stands before each text."""
    parts = tuple(_whole_part(choice, prefix) for choice in result.choices)
    return Response(result.model, result.usage.num_prompt_tokens, parts, is_final=True)


def _whole_part(choice: Choice, prefix: str) -> Part:
    return Part(
        text=prefix + choice.text,
        num_tokens=len(choice.token_ids),
        tokens=choice.tokens,
        total_tokens=len(choice.token_ids),
        logprob=_total_logprob(choice.tokens),
        reason=choice.reason,
        detailed_reason=_detailed_reason(choice.reason, choice.stop),
    )


class WholeReader:
    """One response, when all choices have ended."""

    def __init__(self, num_choices: int, prefix: str) -> None:
        self._prefix = prefix
        self._num_open = num_choices
        self._events: list[Event] = []

    def take(self, event: Event) -> list[Response]:
        """Nothing, until the last choice ends."""
        self._events.append(event)
        if not isinstance(event, Finished):
            return []
        self._num_open -= 1
        return [] if self._num_open else [whole_response(fold(self._events), self._prefix)]

    def flush(self) -> list[Response]:
        """Nothing: half an answer is none."""
        return []


class PieceReader:
    """A response for each piece of a choice; the other choices are empty in it.

    The last response of a choice tells why it ended, so each piece is held back until the next one comes or `flush`
    asks for it. With `tells_end` a choice whose last piece is gone already ends with an empty one.
    """

    def __init__(self, num_choices: int, *, tells_end: bool) -> None:
        self._tells_end = tells_end
        self._held: dict[int, Delta] = {}
        self._parts = [Part("", 0, (), 0, 0.0, None, None)] * num_choices
        self._model = ""
        self._num_input_tokens = 0
        self._has_spoken = [False] * num_choices
        self._num_open = num_choices

    def take(self, event: Event) -> list[Response]:
        """The responses that are due with an event."""
        match event:
            case Started():
                self._model = event.model
                self._num_input_tokens = sum(event.num_prompt_tokens)
            case Delta():
                return self._push(event)
            case Finished():
                return self._finish(event)
        return []

    def flush(self) -> list[Response]:
        """The pieces that are held back."""
        held, self._held = self._held, {}
        return [self._speak(delta) for delta in held.values()]

    def _push(self, delta: Delta) -> list[Response]:
        held = self._held.get(delta.index)
        if held is not None and not delta.token_ids:
            # Text that was waiting for its end belongs to the tokens before it.
            self._held[delta.index] = Delta(held.index, held.text + delta.text, held.token_ids, held.tokens)
            return []
        self._held[delta.index] = delta
        return [] if held is None else [self._speak(held)]

    def _finish(self, finished: Finished) -> list[Response]:
        index = finished.index
        self._num_open -= 1
        delta = self._held.pop(index, None)
        if delta is None and self._has_spoken[index] and not self._tells_end:
            return []
        return [self._speak(delta or Delta(index, "", (), ()), finished)]

    def _speak(self, delta: Delta, finished: Finished | None = None) -> Response:
        index = delta.index
        before = self._parts[index]
        part = Part(
            text=delta.text,
            num_tokens=len(delta.token_ids),
            tokens=delta.tokens,
            total_tokens=before.total_tokens + len(delta.token_ids),
            logprob=before.logprob + _total_logprob(delta.tokens) if delta.tokens else before.logprob,
            reason=finished.reason if finished else None,
            detailed_reason=_detailed_reason(finished.reason, finished.stop) if finished else None,
        )
        self._has_spoken[index] = True
        parts = [part] if len(self._parts) == 1 else [_without_news(each) for each in self._parts]
        parts[index] = part
        self._parts = parts
        return Response(self._model, self._num_input_tokens, tuple(parts), is_final=self._num_open == 0)


def _without_news(part: Part) -> Part:
    return Part("", 0, (), part.total_tokens, part.logprob, part.reason, part.detailed_reason)


def _detailed_reason(reason: FinishReason, stop: str | int | None) -> str:
    """The word that `details` has for why a choice ended."""
    match reason:
        case FinishReason.LENGTH:
            return "length"
        case FinishReason.STOP:
            return "eos_token" if stop is None else "stop_sequence"
        case FinishReason.ABORT:
            return "abort"


def _total_logprob(tokens: Iterable[Token]) -> float:
    return sum(token.logprob or 0.0 for token in tokens)
