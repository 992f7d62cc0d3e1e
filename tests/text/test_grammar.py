"""Grammars of clients: what cannot be used is refused, and nothing takes long."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from portico.core.errors import InvalidGrammar
from portico.core.grammar import Grammar, GrammarKind
from portico.text.grammar import prepare_grammar
from portico.text.writable import check_writable

# Generous for a check that takes milliseconds, on a machine that is busy.
MAX_SECONDS = 5.0

_DEEP_REGEX = "(" * 10_000 + "a" + ")" * 10_000


def nested(keyword: str, depth: int) -> dict[str, Any]:
    """A schema within a schema within a schema."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {keyword: [schema, {"type": "integer"}]}
    return schema


REFUSED: dict[str, tuple[GrammarKind, Any, str]] = {
    "unbalanced": (GrammarKind.REGEX, "(", "unclosed group"),
    "parentheses": (GrammarKind.REGEX, _DEEP_REGEX, "regular expression"),
    "look-ahead": (GrammarKind.REGEX, "(?=a)b", "look-around"),
    "look-behind": (GrammarKind.REGEX, "(?<!a)b", "look-around"),
    "back reference": (GrammarKind.REGEX, r"(a)\1", "backreferences"),
    "no character": (GrammarKind.REGEX, r"[^\s\S]", "no text satisfies it"),
    "huge alternation": (GrammarKind.REGEX, "|".join(f"{'x' * 30}{index}" for index in range(50_000)), "bytes"),
    "deep one of": (GrammarKind.JSON_SCHEMA, nested("oneOf", 30), "`oneOf`"),
    "deep any of": (GrammarKind.JSON_SCHEMA, nested("anyOf", 300), "deeper than 64 levels"),
    "own reference": (GrammarKind.JSON_SCHEMA, {"$ref": "#"}, "leads to itself"),
    "mutual references": (
        GrammarKind.JSON_SCHEMA,
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        "leads to itself",
    ),
    "circle behind a property": (
        GrammarKind.JSON_SCHEMA,
        {
            "$defs": {"a/b": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a~1b"}},
            "properties": {"x": {"$ref": "#/$defs/b"}},
        },
        "leads to itself",
    ),
    "text without a choice": (GrammarKind.REGEX, "a{100000000}", "no choice in its first"),
    "rules that double without a choice": (
        GrammarKind.LARK,
        "\n".join(["start: a0", *(f"a{index}: a{index + 1} a{index + 1}" for index in range(30)), 'a30: "x"']),
        "no choice in its first",
    ),
    "far reference": (GrammarKind.JSON_SCHEMA, {"$ref": "http://127.0.0.1:9/x.json"}, "must begin with `#`"),
    "file reference": (GrammarKind.JSON_SCHEMA, {"items": {"$ref": "file:///etc/passwd"}}, "must begin with `#`"),
    "huge enum": (GrammarKind.JSON_SCHEMA, {"enum": list(range(20_000))}, "20000 entries"),
    "huge object": (
        GrammarKind.JSON_SCHEMA,
        {"properties": {f"p{index}": {} for index in range(2000)}},
        "2000 entries",
    ),
    "look-around pattern": (GrammarKind.JSON_SCHEMA, {"type": "string", "pattern": "(?<!a)b"}, "look-around"),
    "deep pattern": (GrammarKind.JSON_SCHEMA, {"type": "string", "pattern": _DEEP_REGEX}, "JSON schema"),
    "no type": (GrammarKind.JSON_SCHEMA, {"type": "bogus"}, "Invalid type: bogus"),
    "unenforceable": (GrammarKind.JSON_SCHEMA, {"not": {"type": "string"}}, "Unimplemented keys"),
    "asks to be lenient": (
        GrammarKind.JSON_SCHEMA,
        {"not": {"type": "string"}, "x-guidance": {"lenient": True}},
        "Unimplemented keys",
    ),
    "nothing": (GrammarKind.JSON_SCHEMA, False, "no text satisfies it"),
    "empty range": (GrammarKind.JSON_SCHEMA, {"type": "integer", "minimum": 3, "maximum": 2}, "minimum"),
    "a number": (GrammarKind.JSON_SCHEMA, 3, "must be a JSON object"),
    "broken JSON": (GrammarKind.JSON_SCHEMA, "{", "not valid JSON"),
    "deep JSON": (GrammarKind.JSON_SCHEMA, "[" * 100_000, "deeper"),
    "deep rules": (GrammarKind.LARK, "start: " + "(" * 60_000 + '"a"' + ")" * 60_000, "nested"),
    "deep EBNF": (GrammarKind.LARK, "root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000, "nested"),
    "broken rules": (GrammarKind.LARK, "garbage (((", "grammar"),
    "rule that is not there": (GrammarKind.LARK, "root ::= a", "not found"),
    "endless rule": (GrammarKind.LARK, "start: start", "no text satisfies it"),
    "terminals that double": (
        GrammarKind.LARK,
        "\n".join(["start: A0", *(f"A{index}: A{index + 1} A{index + 1}" for index in range(60)), 'A60: "x"']),
        "too big",
    ),
}
# What is large but can be followed a step at a time, within the engine's bounds.
TAKEN: dict[str, tuple[GrammarKind, Any]] = {
    "alternatives that repeat": (GrammarKind.REGEX, "(a|a)*b"),
    "counts of counts": (GrammarKind.REGEX, "((x{1,500}){1,500}){1,500}"),
    "many ways": (GrammarKind.REGEX, "(.*a){20}"),
    "pattern": (GrammarKind.JSON_SCHEMA, {"type": "string", "pattern": "(.*a){20}"}),
    "long array": (GrammarKind.JSON_SCHEMA, {"type": "array", "items": {"type": "integer"}, "maxItems": 10**9}),
    "long string": (GrammarKind.JSON_SCHEMA, {"type": "string", "maxLength": 10**9}),
    "anything": (GrammarKind.JSON_SCHEMA, True),
    "recursion": (
        GrammarKind.JSON_SCHEMA,
        {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False},
    ),
    "rules that double": (
        GrammarKind.LARK,
        "\n".join(["start: a0", *(f"a{index}: a{index + 1} a{index + 1}" for index in range(30)), 'a30: "x" | "y"']),
    ),
    "text with little choice": (GrammarKind.REGEX, "[ab]{100000000}"),
    "EBNF": (GrammarKind.LARK, 'root ::= "yes" | "no" digit\ndigit ::= [0-9]+'),
}


def grammar(kind: GrammarKind, content: Any) -> Grammar:
    """A client's grammar; a schema is written as JSON, unless it is text already."""
    is_text = kind is not GrammarKind.JSON_SCHEMA or isinstance(content, str)
    return Grammar(kind, content if is_text else json.dumps(content), "the_field")


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_and_broken_grammars_are_refused_soon(name: str) -> None:
    kind, content, part = REFUSED[name]
    started_at = time.perf_counter()
    with pytest.raises(InvalidGrammar) as refusal:
        prepare_grammar(grammar(kind, content))
    assert time.perf_counter() - started_at < MAX_SECONDS
    assert refusal.value.name == "the_field"
    assert part in str(refusal.value)
    assert len(str(refusal.value)) < 400
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", TAKEN)
def test_large_grammars_are_taken_soon(name: str) -> None:
    started_at = time.perf_counter()
    prepared = prepare_grammar(grammar(*TAKEN[name]))
    assert time.perf_counter() - started_at < MAX_SECONDS
    assert prepared.kind is GrammarKind.LARK


def test_the_field_is_the_one_of_this_request() -> None:
    asked = [Grammar(GrammarKind.REGEX, "abc", name) for name in ("first", "second")]
    assert [prepare_grammar(each).name for each in asked] == ["first", "second"]


def test_many_grammars_are_not_all_kept() -> None:
    from portico.text import grammar as module

    for index in range(200):
        prepare_grammar(Grammar(GrammarKind.REGEX, f"a{index}", "it"))
    assert module._prepare.cache_info().currsize <= 64


@pytest.mark.parametrize(
    ("pattern", "tokens", "is_possible"),
    [
        ("(yes|no)", [b"y", b"e", b"s"], True),
        ("(yes|no)", [b"yes"], True),
        ("(yes|no)", [b"yesterday", b"x", b""], False),
        ("(yes|no)", [b"ye", b"n", b"es"], False),
        ("(yes|no)", [], False),
        ("[ab]{3}[xy]", [b"a", b"b"], False),
        ("[ab]{9}[xy]", [b"a", b"b"], True),
        ("a*", [b"x"], True),
        ("caf[éê]", [b"c", b"a", b"f", b"\xc3"], False),
        ("caf[éê]", [b"c", b"a", b"f", b"\xc3", b"\xaa"], True),
    ],
)
def test_a_text_must_be_writable(pattern: str, tokens: list[bytes], is_possible: bool) -> None:
    """With nine places there are too many beginnings to try them all."""
    grammar = prepare_grammar(Grammar(GrammarKind.REGEX, pattern, "guided_regex"))
    if is_possible:
        check_writable(grammar, tokens)
        return
    with pytest.raises(InvalidGrammar, match=r"`guided_regex`.*no text of it can be written") as refused:
        check_writable(grammar, tokens)
    assert refused.value.name == "guided_regex"
