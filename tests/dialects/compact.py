"""Short JSON forms of events, tokens and requests, so that a golden case fits on a page."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Sequence
from typing import Any

from portico.core import errors
from portico.core.errors import PorticoError
from portico.core.events import (
    Alternative,
    Apart,
    Delta,
    Event,
    Finished,
    FinishReason,
    Prefilled,
    Started,
    Timings,
    Token,
    ToolCall,
)

TIMINGS = Timings(queue=0.25, prefill=0.5, decode=1.5)
SEED = 42


def event(form: Sequence[Any]) -> Event:
    """An event from its list.

    The forms are `["started", model, [num_prompt_tokens, ...]]`, `["prefilled", prompt_index, num_cached_tokens,
    [token, ...]]`, `["delta", index, text, [id or token, ...]]` and `["finished", index, reason, stop, seed]`; the last
    parts may be left out. A delta without ids or tokens has the one token id 1; what else it has may be said in an
    object behind them, with `reasoning`, `num_reasoning_tokens`, and `calls` as lists of id, name and arguments.
    """
    kind, *parts = form
    match kind:
        case "started":
            return Started(parts[0], tuple(parts[1]))
        case "prefilled":
            return Prefilled(parts[0], _at(parts, 1, 0), tuple(token(each) for each in _at(parts, 2, ())))
        case "delta":
            given = _at(parts, 2, (1,))
            apart = _apart(parts[3]) if len(parts) > 3 else None
            if all(isinstance(each, int) for each in given):
                return Delta(parts[0], parts[1], tuple(given), (), apart)
            tokens = tuple(token(each) for each in given)
            return Delta(parts[0], parts[1], tuple(each.id for each in tokens), tokens, apart)
        case "finished":
            reason = FinishReason(_at(parts, 1, "stop"))
            return Finished(parts[0], reason, _at(parts, 2, None), _at(parts, 3, SEED), TIMINGS)
    raise ValueError(f"no such event: {form}")


def failure(form: Sequence[Any]) -> PorticoError:
    """The error of a `["failed", class name, argument, ...]` entry, as it breaks off a stream."""
    kind: type[PorticoError] = getattr(errors, form[1])
    return kind(*form[2:])


def token(form: Sequence[Any] | dict[str, Any]) -> Token:
    """A token from `[id, text, logprob, [[id, text, logprob], ...], rank]`, or from an object with these names.

    An object may also have `special`, and `raw` in hexadecimal for tokens that are part of a character. Alternatives
    have the same two forms.
    """
    if not isinstance(form, dict):
        form = dict(zip(("id", "text", "logprob", "alternatives", "rank"), form, strict=False))
    return Token(
        id=form["id"],
        text=form["text"],
        raw=_raw(form),
        special=form.get("special", False),
        logprob=form.get("logprob"),
        alternatives=tuple(_alternative(each) for each in form.get("alternatives", ())),
        rank=form.get("rank"),
    )


def plain(value: Any) -> Any:
    """A canonical value as JSON has it: dataclasses are objects, tuples are lists, enums their values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value.value if isinstance(value, enum.Enum) else value


def compact_json(value: Any) -> bytes:
    """JSON without spaces and with characters as they are."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _alternative(form: Sequence[Any] | dict[str, Any]) -> Alternative:
    if not isinstance(form, dict):
        form = dict(zip(("id", "text", "logprob"), form, strict=False))
    return Alternative(form["id"], form["text"], _raw(form), form["logprob"], form.get("special", False))


def _apart(form: dict[str, Any]) -> Apart:
    calls = tuple(ToolCall(*each) for each in form.get("calls", ()))
    return Apart(form.get("reasoning", ""), calls, form.get("num_reasoning_tokens", 0))


def _raw(form: dict[str, Any]) -> bytes:
    return bytes.fromhex(form["raw"]) if "raw" in form else str(form["text"]).encode()


def _at(parts: Sequence[Any], position: int, default: Any) -> Any:
    return parts[position] if position < len(parts) else default
