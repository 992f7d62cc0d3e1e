"""Schemas of bodies, from the types that they are checked against and the ledgers that say what happens to a field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from portico.core.errors import PorticoError
from portico.core.form import EVENTS, JSON, PART_PREFIX, Form, Schema
from portico.core.ledger import Entry, Ledger, Treatment
from portico.dialects import wire

_NULL = {"type": "null"}
_MISFIT = wire.SchemaMismatch("field", "`field`: it has a wrong type.", is_missing=False)


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one JSON object.

    Attributes:
        name: of its schema, with the dialect's: `vllm.Generate`.
        ledger: which fields there are.
        types: what they are checked against, together.
        items: what the lists of objects among the fields have in them, which is read one by one.
        within: objects in it that have ledgers of their own, by their field.
        lists: lists of such objects, by their field.
        takes_null: null is as good as absent for every field; else the types say so.
        same: fields by other names, to the names that the types have.
        given: schemas of fields that no type tells, or not all of.
        required: fields that must be there though the types do not say so.
    """

    name: str
    ledger: Ledger
    types: tuple[type[msgspec.Struct], ...] = ()
    items: Mapping[str, type[msgspec.Struct]] = field(default_factory=dict)
    within: Mapping[str, Fields] = field(default_factory=dict)
    lists: Mapping[str, Fields] = field(default_factory=dict)
    takes_null: bool = False
    same: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    def schema(self) -> Schema:
        """The schema; fields that the ledger does not have are not allowed."""
        prefix = f"{PART_PREFIX}{self.name}."
        roots, defined = msgspec.json.schema_components(
            (*self.types, *self.items.values()), ref_template=prefix + "{name}"
        )
        properties: dict[str, Any] = {}
        required = set(self.required)
        for root in roots[: len(self.types)]:
            described = defined.pop(root["$ref"].removeprefix(prefix))
            properties |= described["properties"]
            required |= set(described.get("required", ()))
        for name, root in zip(self.items, roots[len(self.types) :], strict=True):
            properties[name] = _or_null({"type": "array", "items": root}, name in required)
        properties |= self.given
        parts: dict[str, Mapping[str, Any]] = {f"{self.name}.{name}": part for name, part in defined.items()}
        for name, fields in (*self.within.items(), *self.lists.items()):
            inner = fields.schema()
            parts |= inner.parts
            within = {"type": "array", "items": inner.root} if name in self.lists else inner.root
            properties[name] = _or_null(within, name in required)
        parts[self.name] = {
            "title": self.ledger.title,
            "type": "object",
            "properties": {
                entry.field: self._describe(entry, properties, entry.field in required) for entry in self.ledger.entries
            },
            "required": sorted(required),
            "additionalProperties": False,
        }
        return Schema({"$ref": PART_PREFIX + self.name}, parts)

    def _describe(self, entry: Entry, properties: Mapping[str, Any], is_required: bool) -> dict[str, Any]:
        note = {"description": entry.note} if entry.note else {}
        if entry.treatment is Treatment.REFUSED:
            return {**_NULL, **note}
        if entry.treatment is Treatment.NEUTRAL_ONLY:
            return {"enum": [*entry.neutral, None], **note} if entry.neutral else note
        found = dict(properties.get(self.same.get(entry.field, entry.field), {}))
        if found.get("default", msgspec.UNSET) is None:
            del found["default"]
        if found and self.takes_null:
            found = _or_null(found, is_required)
        return {**found, **note}


def _or_null(schema: Mapping[str, Any], is_required: bool) -> dict[str, Any]:
    if is_required or _NULL in schema.get("anyOf", ()):
        return dict(schema)
    return {"anyOf": [schema, _NULL]}


def reading(body: Fields, *errors: PorticoError, answers: tuple[str, ...] = (JSON,), binary: str = "") -> Form:
    """The form of a route that reads these fields and answers in one of these media types."""
    return Form(body=body.schema, binary=binary, answers={200: answers}, errors=(_MISFIT, *errors))


def streaming(body: Fields, *errors: PorticoError, stream: str = EVENTS) -> Form:
    """The form of a route that answers as a whole or as a stream."""
    return reading(body, *errors, answers=(JSON, stream))
