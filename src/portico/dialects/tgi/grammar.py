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


def _ledgers(path: str) -> tuple[Ledger, Ledger]:
    grammar = (
        honoured("type", "`json` and its other name `json_object`, `json_schema`, `regex`"),
        honoured("value", "a schema or its JSON text, an object with a `schema`, an expression"),
    )
    value = (honoured("schema"), neutral("name", "a remark"), neutral("strict", "schemas are enforced in either case"))
    return Ledger(path, path, grammar), Ledger(f"{path}.value of the type json_schema", f"{path}.value", value)


GRAMMAR, GRAMMAR_VALUE = _ledgers(_PATH)


class Tagged(msgspec.Struct, frozen=True, kw_only=True):
    """A grammar and its kind."""

    type: Literal["json", "json_object", "json_schema", "regex"]
    value: Any


class _JsonSchema(msgspec.Struct, frozen=True, kw_only=True):
    schema: Any


def decode_grammar(given: dict[str, Any] | None, path: str = _PATH) -> Grammar | None:
    """What the output must look like; None is free text. It stands at `path` in the body.

    Raises:
        InvalidParameter: it is not a grammar, or a schema without properties.
    """
    if given is None:
        return None
    of_grammar, of_value = _ledgers(path)
    of_grammar.check(given)
    tagged = wire.convert(given, Tagged, path)
    value = tagged.value
    if tagged.type == "regex":
        if not isinstance(value, str):
            raise wire.SchemaMismatch(f"{path}.value", f"`{path}.value`: expected a string.", is_missing=False)
        return grammars.regex(path, value)
    if tagged.type == "json_schema":
        if not isinstance(value, dict):
            raise wire.SchemaMismatch(f"{path}.value", f"`{path}.value`: expected an object.", is_missing=False)
        of_value.check(value)
        value = wire.convert(value, _JsonSchema, f"{path}.value").schema
    return grammars.json_schema(path, _schema(value, path), _WHITESPACE)


def _schema(value: Any, path: str) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            raise InvalidParameter(path, f"grammar is not valid: {error}") from None
    if not isinstance(value, dict):
        raise InvalidParameter(path, "grammar is not supported")
    if "properties" not in value:
        raise InvalidParameter(path, "grammar is not valid: Grammar must have a 'properties' field")
    return value
