"""Grammars as they came, checked and written as the one kind that engines take.

A client's schema or expression may be made to never end. What is compiled here is bounded in size before, and by the
compiler's own counts of work and states while it is read; nothing that a schema refers to is fetched.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from portico.core.errors import InvalidGrammar
from portico.core.grammar import Grammar, GrammarKind

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

MAX_BYTES = 128 * 1024
MAX_DEPTH = 64
# The compiler compares each property of an object with all others.
MAX_PROPERTIES = 1000
MAX_ENUM = 5000
# Processor seconds of the check; whatever takes longer would hold up the engine for as long.
MAX_SECONDS = 0.5

# Bytes that an output must begin with; the engine works them all out before its first step, and again at each.
MAX_FORCED = 16 * 1024

# Unbounded space would let a small model write nothing else.
_WHITESPACE = r"[ \n\r\t]{0,32}"
_MAX_SHOWN = 240
_PLACE = re.compile(r"^at \d+\(\d+\): (failed to compile JSON schema: )?")
_EXCERPT = re.compile(r"\n +\d+ \| ")
_NUM_REMEMBERED = 64


def prepare_grammar(grammar: Grammar) -> Grammar:
    """The same demand, of the kind `LARK`.

    Raises:
        InvalidGrammar: it is too large, it is broken, or no text satisfies it.
    """
    size = len(grammar.text.encode("utf-8", "replace"))
    if size > MAX_BYTES:
        raise InvalidGrammar(grammar.name, grammar.kind.value, f"it has {size} bytes; the limit is {MAX_BYTES}.")
    try:
        return replace(_prepare(grammar), name=grammar.name)
    except _Broken as error:
        raise InvalidGrammar(grammar.name, grammar.kind.value, str(error)) from None


def make_matcher(vocabulary: LLTokenizer, rules: str) -> LLMatcher:
    """Reads texts by the rules of a grammar, within bounds."""
    from llguidance import LLMatcher, LLParserLimits

    limits = LLParserLimits(
        initial_lexer_fuel=200_000, max_grammar_size=100_000, max_lexer_states=20_000, verbose_errors=False
    )
    return LLMatcher(vocabulary, rules, log_level=0, limits=limits)


class _Broken(Exception):
    """Why a grammar cannot be used; one sentence."""


@functools.lru_cache(maxsize=_NUM_REMEMBERED)
def _prepare(grammar: Grammar) -> Grammar:
    rules = _rules(grammar)
    _try(rules, is_ours=grammar.kind is not GrammarKind.LARK)
    return Grammar(GrammarKind.LARK, rules, grammar.name)


def _rules(grammar: Grammar) -> str:
    # Imported only when needed: few requests ask for a grammar.
    from llguidance import LLMatcher

    match grammar.kind:
        case GrammarKind.JSON_SCHEMA:
            return f"start: %json {_schema(grammar)}"
        case GrammarKind.REGEX:
            wrapped = json.loads(LLMatcher.grammar_from_regex(grammar.text))
            return str(wrapped["grammars"][0]["lark_grammar"])
        case GrammarKind.LARK:
            return _from_ebnf(grammar.text) if "::=" in grammar.text else grammar.text


def _schema(grammar: Grammar) -> str:
    """The schema with our own settings in place of any it has."""
    try:
        schema = json.loads(grammar.text)
    except RecursionError:
        raise _Broken(_TOO_DEEP) from None
    except ValueError as error:
        raise _Broken(f"it is not valid JSON ({error}).") from None
    if isinstance(schema, bool):
        if not schema:
            raise _Broken("no text satisfies it.")
        schema = {}
    if not isinstance(schema, dict):
        raise _Broken("it must be a JSON object.")
    _check_schema(schema)
    whitespace = _WHITESPACE if grammar.whitespace is None else grammar.whitespace
    flexible = {"whitespace_pattern": whitespace} if whitespace else {"whitespace_flexible": False}
    return json.dumps(schema | {"x-guidance": flexible | {"lenient": False, "coerce_one_of": False}})


_TOO_DEEP = f"it is nested deeper than {MAX_DEPTH} levels."


def _check_schema(schema: dict[str, Any]) -> None:
    for depth, value in _walk(schema):
        if depth > MAX_DEPTH:
            raise _Broken(_TOO_DEEP)
        if not isinstance(value, dict):
            continue
        for key, limit in (("properties", MAX_PROPERTIES), ("enum", MAX_ENUM)):
            items = value.get(key)
            if isinstance(items, dict | list) and len(items) > limit:
                raise _Broken(f"`{key}` has {len(items)} entries; it can have at most {limit}.")
        reference = value.get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            raise _Broken("a `$ref` must begin with `#`: nothing is fetched from elsewhere.")
        if isinstance(reference, str) and _is_circle(schema, reference):
            raise _Broken(f"the `$ref` {reference[:_MAX_SHOWN]!r} leads to itself, with nothing in between.")


def _is_circle(schema: dict[str, Any], reference: str) -> bool:
    """Whether references lead from one to the next for ever; where they lead nowhere, the compiler says so."""
    seen = set()
    while reference not in seen:
        seen.add(reference)
        target: Any = schema
        for part in reference.split("/")[1:]:
            target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
        following = target.get("$ref") if isinstance(target, dict) else None
        if not isinstance(following, str):
            return False
        reference = following
    return True


def _walk(schema: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    """Every value in a schema with its depth; without recursion, since the depth is the client's."""
    waiting: list[tuple[int, Any]] = [(1, schema)]
    while waiting:
        depth, value = waiting.pop()
        yield depth, value
        if isinstance(value, dict | list):
            inner = value.values() if isinstance(value, dict) else value
            waiting += [(depth + 1, each) for each in inner if isinstance(each, dict | list)]


def _from_ebnf(text: str) -> str:
    from llguidance.gbnf_to_lark import gbnf_to_lark

    try:
        return str(gbnf_to_lark(text))
    except RecursionError:
        raise _Broken("it is nested too deep.") from None
    except Exception as error:  # noqa: BLE001 - for a rule that is not there the library raises nothing more precise.
        raise _Broken(_shorten(str(error))) from None


def _try(rules: str, is_ours: bool) -> None:
    """Compiles the rules and takes the first step of a text, byte by byte, to see that there can be one.

    In rules that we have written around the client's text, places mean nothing to the client.
    """
    started_at = time.thread_time()
    matcher = make_matcher(_bytes(), rules)
    is_sound = not matcher.is_error()
    if is_sound:
        matcher.compute_bitmask()
    if matcher.is_error():
        raise _Broken("no text satisfies it, or it is too complex." if is_sound else _explain(matcher, is_ours))
    if (num_forced := len(matcher.compute_ff_bytes())) > MAX_FORCED:
        raise _Broken(f"it leaves no choice in its first {num_forced} bytes or more; the limit is {MAX_FORCED}.")
    if time.thread_time() - started_at > MAX_SECONDS:
        raise _Broken("it takes too long to compile.")


@functools.cache
def _bytes() -> LLTokenizer:
    """A vocabulary of single bytes: what can be written with it can be written with any."""
    from llguidance import LLTokenizer

    return LLTokenizer("byte")


def _explain(matcher: LLMatcher, is_ours: bool) -> str:
    message = matcher.get_error()
    if "oneOf constraints are not supported" in message:
        return "a `oneOf` must have schemas of which no text can satisfy two; use `anyOf` otherwise."
    if is_ours:
        message = _PLACE.sub("", _EXCERPT.split(message)[0])
    return _shorten(message)


def _shorten(message: str) -> str:
    """What the compiler says, on one line and without most of what it repeats of the text."""
    line = " ".join(message.split())
    return f"{line.rstrip('.')}." if len(line) <= _MAX_SHOWN else line[:_MAX_SHOWN] + "..."
