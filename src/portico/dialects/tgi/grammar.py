"""`grammar`, in TGI's own words.

Source: `GrammarType` and its validation in TGI 3's router.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from portico.core.errors import InvalidParameter
from portico.core.grammar import Grammar
from portico.core.ledger import Ledger, honoured, neutral
from portico.dialects import grammars, wire

_PATH = "parameters.grammar"
# The original lets one space stand between the tokens of JSON.
_WHITESPACE = "[ ]?"

GRAMMAR = Ledger(
    _PATH,
    _PATH,
    (
        honoured("type", "`json` and its other name `json_object`, `json_schema`, `regex`"),
        honoured("value", "a schema or its JSON text, an object with a `schema`, an expression"),
    ),
)
GRAMMAR_VALUE = Ledger(
    f"{_PATH}.value of the type json_schema",
    f"{_PATH}.value",
    (honoured("schema"), neutral("name", "a remark"), neutral("strict", "schemas are enforced in either case")),
)


class _Tagged(msgspec.Struct, frozen=True, kw_only=True):
    type: Literal["json", "json_object", "json_schema", "regex"]
    value: Any


class _JsonSchema(msgspec.Struct, frozen=True, kw_only=True):
    schema: Any


def decode_grammar(given: dict[str, Any] | None) -> Grammar | None:
    """What the output must look like; None is free text.

    Raises:
        InvalidParameter: it is not a grammar, or a schema without properties.
    """
    if given is None:
        return None
    GRAMMAR.check(given)
    tagged = wire.convert(given, _Tagged, _PATH)
    value = tagged.value
    if tagged.type == "regex":
        if not isinstance(value, str):
            raise wire.SchemaMismatch(f"{_PATH}.value", f"`{_PATH}.value`: expected a string.", is_missing=False)
        return grammars.regex(_PATH, value)
    if tagged.type == "json_schema":
        if not isinstance(value, dict):
            raise wire.SchemaMismatch(f"{_PATH}.value", f"`{_PATH}.value`: expected an object.", is_missing=False)
        GRAMMAR_VALUE.check(value)
        value = wire.convert(value, _JsonSchema, f"{_PATH}.value").schema
    return grammars.json_schema(_PATH, _schema(value), _WHITESPACE)


def _schema(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            raise InvalidParameter(_PATH, f"grammar is not valid: {error}") from None
    if not isinstance(value, dict):
        raise InvalidParameter(_PATH, "grammar is not supported")
    if "properties" not in value:
        raise InvalidParameter(_PATH, "grammar is not valid: Grammar must have a 'properties' field")
    return value
