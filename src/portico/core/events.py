"""What happens to a request, as a stream of events, and the result they fold into.

Nothing of it is ever changed. What is made for every token is not frozen all the same: that takes four times as long.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field


class FinishReason(enum.Enum):
    """Why a choice ended; `Finished.stop` tells which stop it was."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"


@dataclass(slots=True)
class Alternative:
    """A token that could have stood in a place; `raw` are its own bytes, `text` these decoded alone."""

    id: int
    text: str
    raw: bytes
    logprob: float
    special: bool


@dataclass(slots=True)
class Token:
    """One token of a prompt or an output.

    `text` is what the token adds to the text before it (empty while a character is incomplete); `raw` are the bytes of
    the token alone. `logprob` is None when none was asked for and for the first token of a prompt, and so is `rank`,
    how many tokens are at least as likely there (1 is the best). `alternatives` are the most likely tokens of that
    place, best first.
    """

    id: int
    text: str
    raw: bytes
    special: bool
    logprob: float | None
    alternatives: tuple[Alternative, ...]
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that a choice waited in the queue, spent in prefill, and in decode."""

    queue: float
    prefill: float
    decode: float


@dataclass(frozen=True, slots=True)
class Started:
    """The request was valid and admitted; the first event of every stream.

    `model` is the name of the model that answers; `num_prompt_tokens` has one count per prompt. Checking and
    tokenising took `preparation` seconds.
    """

    model: str
    num_prompt_tokens: tuple[int, ...]
    preparation: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Prefilled:
    """A prompt was evaluated; `tokens` is filled when its details or log-probabilities were asked for."""

    prompt_index: int
    num_cached_tokens: int
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model wants to be called, or in a delta a piece of that: `arguments` are then more of them.

    `arguments` are a JSON object as text, as far as the model has written it and knows JSON. `id` is nine letters and
    digits: some chat templates take calls of earlier turns only with such ids. `is_first` begins a call, and `is_last`
    ends one that is whole: one that the length limit cuts has no such piece.
    """

    id: str
    name: str
    arguments: str
    is_first: bool = True
    is_last: bool = True

    def joined(self, more: ToolCall) -> ToolCall:
        """This piece and the one that follows."""
        return ToolCall(self.id, self.name, self.arguments + more.arguments, self.is_first, more.is_last)


@dataclass(frozen=True, slots=True)
class Apart:
    """What stands apart from the text: reasoning before it, calls or pieces of them after it.

    `num_reasoning_tokens` are those of the delta's tokens that reasoning was made of.
    """

    reasoning: str
    calls: tuple[ToolCall, ...]
    num_reasoning_tokens: int


@dataclass(slots=True)
class Delta:
    """New output of one choice.

    `text` is what a reader may see now: it can lag behind the tokens while a character is incomplete, or a stop string
    or markup is possible. `tokens` is filled when `OutputOptions.token_details` was asked for.
    `apart` is there where `OutputOptions.markup` asks for something to be told apart, and there is any.
    """

    index: int
    text: str
    token_ids: tuple[int, ...]
    tokens: tuple[Token, ...]
    # One field, since a delta is made for every token.
    apart: Apart | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """One choice has ended; nothing more comes for it.

    `stop` is the stop string, the stop token id, or None when an end-of-sequence token or a limit ended it. `seed` is
    the seed the choice was drawn with.
    """

    index: int
    reason: FinishReason
    stop: str | int | None
    seed: int
    timings: Timings


Event = Started | Prefilled | Delta | Finished


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of a request; the prompt counts once, however many choices it has."""

    num_prompt_tokens: int
    num_output_tokens: int
    num_cached_tokens: int
    num_reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """One complete answer; `reasoning` and `calls` are those of its deltas, one after another.

    `text_tokens` are those of `tokens` that the text is made of, as `TextTokens` tells them.
    """

    index: int
    text: str
    token_ids: tuple[int, ...]
    tokens: tuple[Token, ...]
    reason: FinishReason
    stop: str | int | None
    seed: int
    timings: Timings
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    text_tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """A whole answer: the fold of its events. `prompts` holds the prompts' tokens when they were asked for.

    `preparation` is that of `Started`.
    """

    model: str
    choices: tuple[Choice, ...]
    prompts: tuple[tuple[Token, ...], ...]
    usage: Usage
    preparation: float = field(default=0.0, compare=False)


class TextTokens:
    """Tells which tokens of a choice its text is made of, in distinction from reasoning and calls.

    A token that adds nothing yet belongs to what comes after it: part of a character, or the beginning of markup.
    """

    def __init__(self) -> None:
        self._waiting: tuple[Token, ...] = ()
        self._is_text = True

    def feed(self, delta: Delta) -> tuple[Token, ...]:
        """The tokens that the text of this delta is made of."""
        tokens = self._waiting + delta.tokens
        if delta.apart is not None and delta.apart.num_reasoning_tokens:
            # Reasoning comes before the text, so what has waited belongs to it.
            tokens = delta.tokens[delta.apart.num_reasoning_tokens :]
        self._waiting = ()
        if delta.text:
            self._is_text = True
            return tokens
        if delta.apart is not None and delta.apart.calls:
            self._is_text = False
        else:
            self._waiting = tokens
        return ()

    def rest(self) -> tuple[Token, ...]:
        """What is left at the end, such as the token that ended the choice, where the choice ends with text."""
        return self._waiting if self._is_text else ()


class UsageCounter:
    """Counts tokens along a stream of events."""

    def __init__(self) -> None:
        self.num_prompt_tokens = 0
        self.num_cached_tokens = 0
        self.num_output_tokens = 0
        self.num_reasoning_tokens = 0

    def feed(self, event: Event) -> None:
        """Takes one event into the counts."""
        match event:
            case Delta():
                self.num_output_tokens += len(event.token_ids)
                if event.apart is not None:
                    self.num_reasoning_tokens += event.apart.num_reasoning_tokens
            case Started():
                self.num_prompt_tokens = sum(event.num_prompt_tokens)
            case Prefilled():
                self.num_cached_tokens += event.num_cached_tokens
            case Finished():
                pass

    def usage(self) -> Usage:
        """The counts so far."""
        return Usage(self.num_prompt_tokens, self.num_output_tokens, self.num_cached_tokens, self.num_reasoning_tokens)


def fold(events: Iterable[Event]) -> Result:
    """Folds the complete events of one request into its result.

    Raises:
        ValueError: the events do not begin with `Started` or a choice has not finished.
    """
    counter = UsageCounter()
    started: Started | None = None
    prompts: dict[int, tuple[Token, ...]] = {}
    deltas: dict[int, list[Delta]] = {}
    finished: dict[int, Finished] = {}
    for event in events:
        counter.feed(event)
        match event:
            case Started():
                started = event
            case Prefilled():
                prompts[event.prompt_index] = event.tokens
            case Delta():
                deltas.setdefault(event.index, []).append(event)
            case Finished():
                finished[event.index] = event
    if started is None:
        raise ValueError("a stream of events begins with Started")
    if deltas.keys() - finished.keys():
        raise ValueError(f"choices without an end: {sorted(deltas.keys() - finished.keys())}")
    choices = tuple(_fold_choice(deltas.get(index, []), finished[index]) for index in sorted(finished))
    ordered_prompts = tuple(prompts.get(index, ()) for index in range(len(started.num_prompt_tokens)))
    return Result(started.model, choices, ordered_prompts, counter.usage(), started.preparation)


def _fold_choice(deltas: list[Delta], finished: Finished) -> Choice:
    apart = [delta.apart for delta in deltas if delta.apart is not None]
    return Choice(
        index=finished.index,
        text="".join(delta.text for delta in deltas),
        token_ids=tuple(token_id for delta in deltas for token_id in delta.token_ids),
        tokens=tuple(token for delta in deltas for token in delta.tokens),
        reason=finished.reason,
        stop=finished.stop,
        seed=finished.seed,
        timings=finished.timings,
        reasoning="".join(each.reasoning for each in apart),
        calls=_join_calls(call for each in apart for call in each.calls),
        text_tokens=_text_tokens(deltas) if any(delta.tokens for delta in deltas) else (),
    )


def _text_tokens(deltas: Iterable[Delta]) -> tuple[Token, ...]:
    following = TextTokens()
    found = [token for delta in deltas for token in following.feed(delta)]
    return (*found, *following.rest())


def _join_calls(pieces: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    """Calls of their pieces, which come in order."""
    calls: list[list[ToolCall]] = []
    for piece in pieces:
        if piece.is_first:
            calls.append([piece])
        else:
            calls[-1].append(piece)
    return tuple(
        ToolCall(each[0].id, each[0].name, "".join(piece.arguments for piece in each), True, each[-1].is_last)
        for each in calls
    )
