"""What an output must look like: `response_format`, and the fields that open servers add for the same.

Source: OpenAI API reference, "Create chat completion", `response_format`. `value` in place of `json_schema` is how Text
Generation Inference writes the same on its own chat route.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from portico.core.errors import InvalidParameter, UnsupportedParameter
from portico.core.grammar import Grammar
from portico.core.ledger import Ledger, honoured, neutral
from portico.dialects import grammars, wire

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_TYPES = ("text", "json_object", "json_schema", "regex")

RESPONSE_FORMAT = Ledger(
    "response_format",
    "response_format",
    (
        honoured("type", "`text`, `json_object`, `json_schema`; an addition: `regex`"),
        honoured("json_schema", "with the type `json_schema`"),
        honoured("value", "an addition: the schema, an object with a `schema`, or the expression of the type `regex`"),
    ),
)
JSON_SCHEMA = Ledger(
    "response_format.json_schema",
    "response_format.json_schema",
    (
        honoured("name", "letters, digits, `_` and `-`, at most 64"),
        honoured("schema", "enforced; keywords that cannot be are refused"),
        neutral("strict", "schemas are enforced in either case"),
        neutral("description", "a remark for the model, which is told of no schema"),
    ),
)
STRUCTURED_OUTPUTS = grammars.structured_outputs_ledger("structured_outputs")


class Format(msgspec.Struct, kw_only=True):
    """`response_format`."""

    type: str
    json_schema: dict[str, Any] | None = None
    value: str | dict[str, Any] | None = None


class NamedSchema(msgspec.Struct, kw_only=True):
    """`response_format.json_schema`."""

    name: str
    schema: dict[str, Any] | bool


class _Value(msgspec.Struct, kw_only=True):
    schema: dict[str, Any] | bool


class _Wrapped(msgspec.Struct, kw_only=True):
    value: _Value


def decode_grammar(body: dict[str, Any]) -> Grammar | None:
    """What the output must look like, under whichever name; None is free text.

    Raises:
        UnsupportedParameter: a kind of form that is not known, or a field that is not honoured.
        InvalidParameter: several demands, or a wrong one.
    """
    found = [
        _response_format(body),
        grammars.decode_structured_outputs(body, "structured_outputs"),
        grammars.decode_guided(body),
    ]
    return grammars.only_one("response_format", found)


def check_format_name(path: str, name: str) -> None:
    """Checks the name of a schema.

    Raises:
        InvalidParameter: it has other characters than names may have, or too many.
    """
    if not _NAME.match(name):
        raise InvalidParameter(path, f"`{path}` must be at most 64 letters, digits, underscores and dashes.")


def _response_format(body: dict[str, Any]) -> Grammar | None:
    given = body.get("response_format")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise InvalidParameter("response_format", "`response_format` must be an object.")
    if given.get("type") == "structural_tag":
        raise UnsupportedParameter(
            "response_format.type",
            "`response_format.type` structural_tag is not supported: parts of an output are not told apart.",
        )
    RESPONSE_FORMAT.check(given)
    form = wire.convert(given, Format, "response_format")
    if form.json_schema is not None and (form.type != "json_schema" or form.value is not None):
        raise InvalidParameter(
            "response_format.json_schema", "`response_format.json_schema` is for the type json_schema, without `value`."
        )
    if form.value is not None:
        return _from_value(form)
    match form.type:
        case "text":
            return None
        case "json_object" | "json":
            return grammars.json_object("response_format")
        case "json_schema":
            return _json_schema(given)
    raise _strange(form)


def _from_value(form: Format) -> Grammar:
    path = "response_format.value"
    match form.type:
        case "json_schema":
            schema = wire.convert({"value": form.value}, _Wrapped, "response_format").value.schema
            return grammars.json_schema(f"{path}.schema", schema)
        case "json_object" | "json":
            return grammars.json_schema(path, form.value or {})
        case "regex" if isinstance(form.value, str):
            return grammars.regex(path, form.value)
    raise _strange(form)


def _strange(form: Format) -> InvalidParameter:
    if form.type in _TYPES:
        return InvalidParameter(
            "response_format.value", f"`response_format.value` does not go with the type {form.type}, or is needed."
        )
    return InvalidParameter(
        "response_format.type", f"`response_format.type` must be one of {', '.join(_TYPES)}, got {form.type!r}."
    )


def _json_schema(given: dict[str, Any]) -> Grammar:
    path = "response_format.json_schema"
    fields = given.get("json_schema")
    if fields is None:
        raise wire.SchemaMismatch(path, f"`{path}` is required with the type json_schema.", is_missing=True)
    JSON_SCHEMA.check(fields)
    described = wire.convert(fields, NamedSchema, path)
    check_format_name(f"{path}.name", described.name)
    return grammars.json_schema(f"{path}.schema", described.schema)
