"""What an output must look like, as several wires write it, to the canonical grammar.

Source: vLLM's `StructuredOutputsParams` and its older `guided_*` fields. Whether a schema or an expression can be used
is found out later, where it is compiled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from portico.core.errors import InvalidParameter
from portico.core.grammar import Grammar, GrammarKind
from portico.core.ledger import Ledger, honoured, neutral, refused
from portico.dialects import wire

_ANY_OBJECT = '{"type": "object"}'
_SCHEMA = "a JSON schema, as an object or as its JSON text; keywords that cannot be enforced are refused"

_ENTRIES = (
    honoured("json", _SCHEMA),
    honoured("regex", "without look-around and back references; the whole output matches it"),
    honoured("choice", "a list of texts, of which the output is one"),
    honoured("grammar", "Lark rules with `start`, or EBNF (`root ::= ...`)"),
    honoured("json_object", "any JSON object"),
    refused("structural_tag", "parts of an output are not told apart; `json` and the like hold for all of it."),
    honoured("whitespace_pattern", "with JSON: what may stand between its tokens; absent: up to 32 of any space"),
    honoured("disable_any_whitespace", "with JSON: nothing stands between its tokens"),
    neutral("disable_additional_properties", "say so in the schema: `additionalProperties` false.", False),
    neutral("backend", "there is one implementation"),
    neutral("disable_fallback", "there is one implementation"),
)


def structured_outputs_ledger(name: str) -> Ledger:
    """The fields of an object of that name."""
    return Ledger(name, name, _ENTRIES)


class Demands(msgspec.Struct, kw_only=True):
    """The fields of an object that demands a form of the output."""

    json: str | dict[str, Any] | bool | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    whitespace_pattern: str | None = None
    disable_any_whitespace: bool | None = None


class GuidedFields(msgspec.Struct, kw_only=True):
    """The same demands by their older names."""

    guided_json: str | dict[str, Any] | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    guided_whitespace_pattern: str | None = None


def decode_structured_outputs(body: Mapping[str, Any], name: str) -> Grammar | None:
    """The grammar in an object of that name in a request's body, if it is there.

    Raises:
        UnsupportedParameter: a field that is not honoured.
        InvalidParameter: no kind of demand or several, or one of a wrong type.
    """
    given = body.get(name)
    if given is None:
        return None
    if not isinstance(given, dict):
        raise InvalidParameter(name, f"`{name}` must be an object.")
    structured_outputs_ledger(name).check(given)
    fields = wire.convert(given, Demands, name)
    whitespace = "" if fields.disable_any_whitespace else fields.whitespace_pattern
    found = [
        None if fields.json is None else json_schema(f"{name}.json", fields.json, whitespace),
        None if fields.regex is None else regex(f"{name}.regex", fields.regex),
        None if fields.choice is None else choice(f"{name}.choice", fields.choice),
        None if fields.grammar is None else rules(f"{name}.grammar", fields.grammar),
        json_object(f"{name}.json_object", whitespace) if fields.json_object else None,
    ]
    demand = only_one(name, found)
    _require_json(f"{name}.whitespace_pattern", fields.whitespace_pattern, demand)
    if demand is None:
        raise InvalidParameter(name, f"`{name}` needs one of json, regex, choice, grammar and json_object.")
    return demand


def decode_guided(body: dict[str, Any]) -> Grammar | None:
    """The grammar in the older fields, which stand in the body itself.

    Raises:
        InvalidParameter: several demands, or one of a wrong type.
    """
    fields = wire.convert(body, GuidedFields)
    found = [
        None
        if fields.guided_json is None
        else json_schema("guided_json", fields.guided_json, fields.guided_whitespace_pattern),
        None if fields.guided_regex is None else regex("guided_regex", fields.guided_regex),
        None if fields.guided_choice is None else choice("guided_choice", fields.guided_choice),
        None if fields.guided_grammar is None else rules("guided_grammar", fields.guided_grammar),
    ]
    demand = only_one("guided_json", found)
    _require_json("guided_whitespace_pattern", fields.guided_whitespace_pattern, demand)
    return demand


def _require_json(name: str, whitespace: str | None, demand: Grammar | None) -> None:
    if whitespace is not None and (demand is None or demand.kind is not GrammarKind.JSON_SCHEMA):
        raise InvalidParameter(name, f"`{name}` is for JSON only.")


def only_one(name: str, found: list[Grammar | None]) -> Grammar | None:
    """The one demand there is, if any; `name` is at fault where there are several.

    Raises:
        InvalidParameter: there are.
    """
    demands = [each for each in found if each is not None]
    if len(demands) > 1:
        names = " and ".join(f"`{each.name}`" for each in demands)
        raise InvalidParameter(name, f"An output can have one form only, but {names} are given.")
    return demands[0] if demands else None


def json_object(name: str, whitespace: str | None = None) -> Grammar:
    """Any JSON object."""
    return Grammar(GrammarKind.JSON_SCHEMA, _ANY_OBJECT, name, whitespace)


def json_schema(name: str, schema: str | dict[str, Any] | bool, whitespace: str | None = None) -> Grammar:
    """JSON that satisfies a schema; text is its JSON text."""
    text = schema if isinstance(schema, str) else wire.encode_json(schema).decode()
    return Grammar(GrammarKind.JSON_SCHEMA, text, name, whitespace)


def regex(name: str, pattern: str) -> Grammar:
    """Text that a regular expression matches from its beginning to its end."""
    return Grammar(GrammarKind.REGEX, pattern, name)


def choice(name: str, texts: list[str]) -> Grammar:
    """One of several texts.

    Raises:
        InvalidParameter: there are none.
    """
    if not texts:
        raise InvalidParameter(name, f"`{name}` must have at least one text.")
    return Grammar(GrammarKind.LARK, "start: " + " | ".join(map(json.dumps, texts)), name)


def rules(name: str, text: str) -> Grammar:
    """Text that follows the rules of a grammar."""
    return Grammar(GrammarKind.LARK, text, name)
