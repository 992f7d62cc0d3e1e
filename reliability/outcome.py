"""The classes of requests: each ends in exactly one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from reliability.client import Answer, End
from reliability.spoken import ErrorFrame, Spoken


class Kind(Enum):
    """How a request ended."""

    OK = "ok-exact"
    CLIENT_ERROR = "4xx"
    OVER_QUOTA = "429"
    UNAVAILABLE = "503"
    TIMED_OUT = "504"
    SERVER_ERROR = "5xx"
    STREAM_ERROR = "sse-error"
    CANCELLED = "client-cancel"
    HUNG = "hung"
    RESET = "reset"
    WRONG_TEXT = "wrong-text"


# What no request may ever come to.
FORBIDDEN = frozenset({Kind.HUNG, Kind.RESET, Kind.WRONG_TEXT})
# 529 is how Anthropic says 503.
_STATUSES = {429: Kind.OVER_QUOTA, 503: Kind.UNAVAILABLE, 504: Kind.TIMED_OUT, 529: Kind.UNAVAILABLE}

# How TGI says that the engine failed.
_FAILED = (424,)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A request and how it ended."""

    spoken: Spoken
    answer: Answer
    kind: Kind
    remark: str = ""

    def describe(self) -> str:
        """The request and what came of it, in a few words."""
        return f"{self.spoken.describe()}: {self.remark or self.answer.text[:200]}"

    @property
    def is_native_refusal(self) -> bool:
        """Whether the refusal has the shape of its dialect and says when to try again."""
        retry_after = self.answer.headers.get("retry-after", "")
        return (
            self.spoken.dialect.is_error(self.answer.body) and retry_after.isdecimal() and 1 <= int(retry_after) <= 60
        )


def classify(spoken: Spoken, answer: Answer) -> Outcome:
    """The class of an answer; `spoken.expected` is the text that it must have."""
    if answer.end in (End.LOST, End.REFUSED):
        return Outcome(spoken, answer, Kind.RESET, answer.end.value)
    if answer.end is End.LEFT:
        return Outcome(spoken, answer, Kind.CANCELLED)
    if answer.end is End.LATE:
        return Outcome(spoken, answer, Kind.HUNG, f"status {answer.status}, {len(answer.body)} bytes")
    if answer.status in _STATUSES:
        return Outcome(spoken, answer, _STATUSES[answer.status])
    if answer.status != 200:
        kind = Kind.SERVER_ERROR if answer.status >= 500 or answer.status in _FAILED else Kind.CLIENT_ERROR
        return Outcome(spoken, answer, kind, answer.text[:200])
    return _classify_text(spoken, answer)


def _classify_text(spoken: Spoken, answer: Answer) -> Outcome:
    try:
        text = spoken.read(answer.body)
    except ErrorFrame as error:
        return Outcome(spoken, answer, Kind.STREAM_ERROR, str(error))
    except (ValueError, LookupError, TypeError) as error:
        return Outcome(spoken, answer, Kind.WRONG_TEXT, f"not readable as {spoken.dialect.name}: {error!r}")
    if text != spoken.expected:
        return Outcome(spoken, answer, Kind.WRONG_TEXT, f"{text!r} instead of {spoken.expected!r}")
    return Outcome(spoken, answer, Kind.OK)


def count(outcomes: Iterable[Outcome]) -> str:
    """How many requests ended in each class, in words."""
    counted = Counter(outcome.kind for outcome in outcomes)
    return ", ".join(f"{counted[kind]} {kind.value}" for kind in Kind if counted[kind]) or "no requests"


def unexpected(outcomes: Iterable[Outcome], *allowed: Kind) -> list[str]:
    """A sentence for every class of requests that is not allowed, with its first remark."""
    strange: dict[Kind, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.kind not in allowed:
            strange.setdefault(outcome.kind, []).append(outcome)
    return [f"{len(found)} {kind.value}, such as {found[0].describe()}" for kind, found in strange.items()]
