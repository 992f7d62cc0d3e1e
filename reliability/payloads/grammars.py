"""Rows B1 to B9: forms of outputs that are made not to end, and templates that are made to break out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from reliability.payloads.attack import Attack, Raw, Verdict, nested, on_surface
from reliability.surfaces import Surface

# Whether refused or used, these must cost next to nothing.
REGEXES: tuple[tuple[str, str, Verdict], ...] = (
    ("alternatives that are the same", "(a|a)*b", Verdict.SURVIVED),
    ("repeats of repeats of repeats", "((x{1,500}){1,500}){1,500}", Verdict.SURVIVED),
    ("twenty greedy groups", "(.*a){20}", Verdict.SURVIVED),
    ("nested plus", "((a+)+)+$", Verdict.SURVIVED),
    ("unbalanced", "(", Verdict.REFUSED),
    ("look-behind", "(?<=a)b", Verdict.REFUSED),
    ("back reference", r"(a)\1", Verdict.REFUSED),
    ("a hundred million repeats", "a{100000000}", Verdict.REFUSED),
    ("ten thousand groups", "(" * 10_000 + "a" + ")" * 10_000, Verdict.REFUSED),
    ("all of Unicode, often", r"(\w{1,300}\W{1,300}){1,300}", Verdict.SURVIVED),
    ("what must hold after a hundred characters", "(a|b)*a(a|b){100}", Verdict.SURVIVED),
    ("a megabyte", "a" * 1_000_000, Verdict.REFUSED),
    ("a lone bracket", "[", Verdict.REFUSED),
    ("an empty range", "[z-a]", Verdict.REFUSED),
    ("NUL", "\x00*", Verdict.SURVIVED),
)


def _one_of(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"oneOf": [schema, {"type": "string"}]}
    return schema


def _all_of(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for number in range(depth):
        schema = {"allOf": [schema, {"anyOf": [{"maxLength": number}, {"minLength": number}]}]}
    return schema


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


SCHEMAS: tuple[tuple[str, Callable[[], Any], Verdict], ...] = (
    ("oneOf nested 30", lambda: _object(a=_one_of(30)), Verdict.REFUSED),
    ("oneOf nested 80", lambda: _object(a=_one_of(80)), Verdict.REFUSED),
    ("allOf nested 30", lambda: _object(a=_all_of(30)), Verdict.SURVIVED),
    ("a reference to itself", lambda: {"$ref": "#", "type": "object"}, Verdict.SURVIVED),
    (
        "references to each other",
        lambda: {
            **_object(a={"$ref": "#/$defs/a"}),
            "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        },
        Verdict.REFUSED,
    ),
    ("a reference to nowhere", lambda: _object(a={"$ref": "#/$defs/none"}), Verdict.REFUSED),
    ("a reference to elsewhere", lambda: _object(a={"$ref": "http://127.0.0.1:9/x.json"}), Verdict.REFUSED),
    ("a reference to a file", lambda: _object(a={"$ref": "file:///etc/passwd"}), Verdict.REFUSED),
    ("50k values of an enum", lambda: _object(a={"enum": [f"v{n}" for n in range(50_000)]}), Verdict.REFUSED),
    ("50k properties", lambda: _object(**{f"p{n}": {"type": "null"} for n in range(50_000)}), Verdict.REFUSED),
    ("a billion items", lambda: _object(a={"type": "array", "minItems": 10**9}), Verdict.SURVIVED),
    ("a billion characters", lambda: _object(a={"type": "string", "minLength": 10**9}), Verdict.SURVIVED),
    ("at most a billion", lambda: _object(a={"type": "string", "maxLength": 10**9}), Verdict.SURVIVED),
    ("a bad pattern", lambda: _object(a={"type": "string", "pattern": "((x{1,500}){1,500}){1,500}"}), Verdict.SURVIVED),
    ("a broken pattern", lambda: _object(a={"type": "string", "pattern": "("}), Verdict.REFUSED),
    ("10k brackets in a pattern", lambda: _object(a={"type": "string", "pattern": "(" * 10_000}), Verdict.REFUSED),
    ("a type that is none", lambda: _object(a={"type": "banana"}), Verdict.REFUSED),
    ("a type that is a number", lambda: _object(a={"type": 5}), Verdict.REFUSED),
    ("what nothing satisfies", lambda: _object(a={"type": "integer", "minimum": 5, "maximum": 4}), Verdict.REFUSED),
    ("100 levels", lambda: _object(a=nested(100, '{"type":"object","properties":{"a":', "}}", "{}")), Verdict.REFUSED),
    ("20k levels", lambda: _object(a=nested(20_000, '{"not":', "}", "{}")), Verdict.REFUSED),
    ("numbers that are none", lambda: _object(a={"type": "number", "multipleOf": 0}), Verdict.REFUSED),
    ("1e400 as a bound", lambda: _object(a={"type": "integer", "maximum": Raw("1" + "0" * 400)}), Verdict.SURVIVED),
)
GRAMMARS: tuple[tuple[str, str, Verdict], ...] = (
    ("60k brackets", "root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000, Verdict.REFUSED),
    ("5k brackets", "root ::= " + "(" * 5_000 + '"a"' + ")" * 5_000, Verdict.REFUSED),
    ("5k brackets in Lark", "start: " + "(" * 5_000 + '"a"' + ")" * 5_000, Verdict.REFUSED),
    ("a rule of itself on the left", 'start: start "a"', Verdict.REFUSED),
    ("a rule that is missing", "root ::= other", Verdict.REFUSED),
    ("no rule at all", "", Verdict.REFUSED),
    ("no start", 'other: "a"', Verdict.REFUSED),
    ("every text in endlessly many ways", 'start: start start | "a" | ""', Verdict.SURVIVED),
    ("an import", "%import common.WORD\nstart: WORD", Verdict.SURVIVED),
    ("an import of a file", "%import .secret.WORD\nstart: WORD", Verdict.REFUSED),
    ("a schema inside that refers elsewhere", 'start: %json {"$ref": "http://127.0.0.1:9/x"}', Verdict.REFUSED),
    ("a regular expression inside that explodes", "start: /((x{1,500}){1,500}){1,500}/", Verdict.SURVIVED),
    ("a lone string", '"', Verdict.REFUSED),
)
TEMPLATES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("a template", {"chat_template": "{{ ''.__class__.__mro__ }}"}),
    (
        "a template that loops",
        {"chat_template": "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}"},
    ),
    (
        "a template by the arguments",
        {"chat_template_kwargs": {"chat_template": "{% for i in range(100000) %}x{% endfor %}"}},
    ),
    ("tokenising by the arguments", {"chat_template_kwargs": {"tokenize": True}}),
    ("messages by the arguments", {"chat_template_kwargs": {"messages": []}}),
    ("a global by the arguments", {"chat_template_kwargs": {"raise_exception": 1}}),
    ("range by the arguments", {"chat_template_kwargs": {"range": 1}}),
)
TOOLS: tuple[tuple[str, Any, Verdict], ...] = (
    ("without a function", {"type": "function"}, Verdict.REFUSED),
    ("of a strange type", {"type": "exec", "function": {"name": "f"}}, Verdict.REFUSED),
    ("with a name of 1 MB", {"type": "function", "function": {"name": "f" * 1_000_000}}, Verdict.REFUSED),
    (
        "with parameters that are text",
        {"type": "function", "function": {"name": "f", "parameters": "x"}},
        Verdict.REFUSED,
    ),
    (
        "with 5 MB of description",
        {"type": "function", "function": {"name": "f", "description": "x" * 5_000_000}},
        Verdict.REFUSED,
    ),
)


def attacks(surfaces: tuple[Surface, ...]) -> Iterator[Attack]:
    """All rows, on every path that can be asked for a form or for messages."""
    for surface in surfaces:
        yield from _demands(surface)
        if "messages" in surface.body and surface.wire != "anthropic":
            yield from templates(surface, TEMPLATES)
            if surface.wire == "openai":
                yield from _tools(surface)


def _demands(surface: Surface) -> Iterator[Attack]:
    for label, regex, verdict in REGEXES if "regex" in surface.demands else ():
        yield on_surface("B1", f"regex: {label}", surface, partial(surface.with_demand, "regex", regex), verdict)
    for label, make, verdict in SCHEMAS if "schema" in surface.demands else ():
        row = "B3" if "bracket" in label or "levels" in label else "B2"
        yield on_surface(
            row, f"schema: {label}", surface, partial(_with_schema, surface, make), verdict, wire=_wire(label, surface)
        )
    for label, rules, verdict in GRAMMARS if "grammar" in surface.demands else ():
        yield on_surface("B3", f"grammar: {label}", surface, partial(surface.with_demand, "grammar", rules), verdict)


def _wire(label: str, surface: Surface) -> str | None:
    """Who refuses: what is nested too deep to be read is recognised by nobody on a path that wires share."""
    return None if label == "20k levels" else surface.wire


def _with_schema(surface: Surface, make: Callable[[], Any]) -> Any:
    return surface.with_demand("schema", make())


def _with_forced_tool(surface: Surface, make: Callable[[], Any]) -> Any:
    tool = {"type": "function", "function": {"name": "f", "parameters": make()}}
    return surface.with_top({"tools": [tool], "tool_choice": "required"})


def _tools(surface: Surface) -> Iterator[Attack]:
    for label, tool, verdict in TOOLS:
        yield on_surface("B7", f"a tool {label}", surface, partial(surface.with_top, {"tools": [tool]}), verdict)
    for label, make, verdict in SCHEMAS:
        yield on_surface(
            "B7",
            f"a forced tool: {label}",
            surface,
            partial(_with_forced_tool, surface, make),
            verdict,
            wire=_wire(label, surface),
        )


def templates(surface: Surface, given: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[Attack]:
    """Fields that bring a template, or change what a template sees."""
    for label, fields in given:
        yield on_surface("B8", label, surface, partial(surface.with_top, fields))
