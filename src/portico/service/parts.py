"""The deltas of one choice whose text is told apart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from portico.core.events import Apart, Delta, Token, ToolCall
from portico.text.answer_format import AnswerPart, AnswerReader
from portico.text.reasoning import Reasoning
from portico.text.tool_parsers.format import ArgumentsPiece, CallBegun, CallEnded


@dataclass(slots=True)
class _Draft:
    """A delta while it is filled; its parts come in the order of the fields."""

    reasoning: str = ""
    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)

    def add(self, piece: ToolCall) -> None:
        """One more piece of a call, at the end of what there is of it."""
        if piece.is_first or not self.calls:
            self.calls.append(piece)
        else:
            self.calls[-1] = self.calls[-1].joined(piece)

    def apart(self, num_reasoning_tokens: int) -> Apart | None:
        """What is not text, if there is any."""
        if not self.reasoning and not self.calls and not num_reasoning_tokens:
            return None
        return Apart(self.reasoning, tuple(self.calls), num_reasoning_tokens)


class ChoiceParts:
    """Collects what the tokens of one step mean, and gives it as deltas.

    With `ends_with_call` the end of the first call ends the choice: `is_ended` says so, and nothing is read after it.
    """

    def __init__(self, reader: AnswerReader, request_id: str, index: int, ends_with_call: bool) -> None:
        self._reader = reader
        self._prefix = f"{request_id}/{index}"
        self._index = index
        self._ends_with_call = ends_with_call
        self._num_calls = 0
        self._call = ToolCall("", "", "", is_first=False, is_last=False)
        self._num_reasoning_tokens = 0
        self._drafts = [_Draft()]
        self.is_ended = False

    def feed(self, text: str) -> None:
        """The text that one token adds."""
        was_reasoning = self._reader.is_reasoning
        self._collect(self._reader.feed(text))
        self._num_reasoning_tokens += was_reasoning or self._reader.is_reasoning

    def flush(self, text: str) -> None:
        """The last text, which no token adds."""
        if not self.is_ended:
            self._collect(self._reader.feed(text))
            self._collect(self._reader.flush())

    def take(self, token_ids: tuple[int, ...], tokens: tuple[Token, ...]) -> list[Delta]:
        """What has come since the last time; the first delta has the tokens."""
        drafts, self._drafts = self._drafts, [_Draft()]
        num_reasoning_tokens, self._num_reasoning_tokens = self._num_reasoning_tokens, 0
        first = Delta(self._index, drafts[0].text, token_ids, tokens, drafts[0].apart(num_reasoning_tokens))
        others = [Delta(self._index, each.text, (), (), each.apart(0)) for each in drafts[1:]]
        return [first, *others] if token_ids or first.text or first.apart else others

    def _collect(self, parts: list[AnswerPart]) -> None:
        for part in parts:
            if self.is_ended:
                return
            draft = self._drafts[-1]
            match part:
                case Reasoning(text):
                    if draft.text or draft.calls:
                        self._drafts.append(draft := _Draft())
                    draft.reasoning += text
                case CallBegun(name):
                    self._begin_call(name)
                    draft.add(replace(self._call, is_first=True))
                case ArgumentsPiece(text):
                    draft.add(replace(self._call, arguments=text))
                case CallEnded():
                    draft.add(replace(self._call, is_last=True))
                    self.is_ended = self._ends_with_call
                case str():
                    if draft.calls:
                        self._drafts.append(draft := _Draft())
                    draft.text += part

    def _begin_call(self, name: str) -> None:
        """With an id that is the same whenever the same request is read again."""
        place = f"{self._prefix}/{self._num_calls}"
        self._num_calls += 1
        call_id = hashlib.blake2s(place.encode()).hexdigest()[:9]
        self._call = ToolCall(call_id, name, "", is_first=False, is_last=False)
