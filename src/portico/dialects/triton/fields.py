"""Gathers the fields of a request from the places and under the names that clients use."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from portico.core.errors import InvalidParameter
from portico.core.ledger import Ledger
from portico.dialects import wire
from portico.dialects.triton.schema import FLAGS, LISTS, NUMBERS, SECOND_NAMES, TEXTS, Fields

_WORDS = frozenset({"stop", "bad_words"})
_MAX_OBJECTS = 10_000
_PLACES = ("parameters", "sampling_parameters")
_MISMATCHES = {
    "text": "Unable to parse JSON bytes array: attempt to access JSON non-string as string: {told}",
    "flag": "Unable to parse 'data': attempt to access JSON non-boolean as boolean: {told}",
}
_PARAMETER = "parameter '{name}' has invalid type: {told}"


@dataclass(frozen=True, slots=True)
class Given:
    """The fields of a request, and the client's own name for each."""

    fields: Fields
    names: dict[str, str]

    def name(self, field: str) -> str:
        """What the client called a field."""
        return self.names.get(field, field)


@dataclass(frozen=True, slots=True)
class Place:
    """Fields that stand together, and the ledger that speaks for them; `keyword` names the object that holds them."""

    ledger: Ledger
    fields: Mapping[str, Any]
    keyword: str = ""


def gather(places: Iterable[Place], model: str, *, needs_text: bool = True) -> Given:
    """Gathers the fields of all places; `model` is named in errors. Without `needs_text` the prompt is elsewhere.

    Raises:
        InvalidParameter: a field is missing, has a wrong type or is given twice.
        UnsupportedParameter: a field is not honoured.
    """
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    nested: set[str] = set()
    for place in places:
        place.ledger.check(place.fields)
        for name, value in place.fields.items():
            field = SECOND_NAMES.get(name, name)
            if name in _PLACES or value is None or (field in _WORDS and _has_no_words(value)):
                continue
            if field in values:
                raise InvalidParameter(name, _twice(field, names[field], name))
            values[field] = _plain(field, value)
            names[field] = name
            if place.keyword:
                nested.add(field)
    if needs_text and "text_input" not in values:
        raise InvalidParameter("text_input", _missing_input(model, list(names.values())))
    wanted = {field: value for field, value in values.items() if field in Fields.__struct_fields__}
    try:
        return Given(wire.convert(wanted, Fields), names)
    except wire.SchemaMismatch:
        raise _first_mismatch(wanted, names, nested) from None


def _first_mismatch(values: Mapping[str, Any], names: Mapping[str, str], nested: set[str]) -> InvalidParameter:
    """What is wrong with the first field of a wrong type in the order of the request, in the original's words."""
    for field, value in values.items():
        try:
            wire.convert({field: value}, Fields)
        except wire.SchemaMismatch as error:
            name = names[field]
            told = str(error).replace(f"`{field}`", f"`{name}`")
            prefix = "Converting keyword: 'parameters': " if field in nested else ""
            return InvalidParameter(
                name, prefix + _MISMATCHES.get(_kind(field), _PARAMETER).format(name=name, told=told)
            )
    raise AssertionError("some field does not fit")


def _kind(field: str) -> str:
    return "text" if field in TEXTS else "flag" if field in FLAGS else ""


def require_distinct_keys(body: bytes) -> None:
    """Checks that no object in valid JSON has a key twice: of two values one would be lost without a word.

    Raises:
        InvalidParameter: one has, or there are more objects than any request of this protocol has.
    """
    num_objects = 0

    def require_distinct(pairs: list[tuple[str, Any]]) -> None:
        nonlocal num_objects
        num_objects += 1
        if num_objects > _MAX_OBJECTS:
            raise InvalidParameter("", f"The request has more than {_MAX_OBJECTS} objects.")
        seen = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidParameter(name, _twice(name, name, name))
            seen.add(name)

    # Numbers and depths that this reader minds are not its business here.
    with contextlib.suppress(ValueError, RecursionError):
        json.loads(body, object_pairs_hook=require_distinct)


def spread(fields: Mapping[str, Any], ledger: Ledger) -> Iterator[Place]:
    """The top of a generate request's body and the objects within it that hold fields too."""
    yield Place(ledger, fields)
    parameters = fields.get("parameters")
    if parameters is not None:
        if not isinstance(parameters, dict):
            raise InvalidParameter("parameters", "Expected JSON object for keyword: 'parameters'")
        yield Place(ledger, _without_places("parameters", parameters, "parameters"), "parameters")
    for fields_of_place in (fields, parameters or {}):
        yield from spread_sampling(fields_of_place, ledger)


def spread_sampling(fields: Mapping[str, Any], ledger: Ledger) -> Iterator[Place]:
    """The fields within `sampling_parameters`, if it is given."""
    sampling = fields.get("sampling_parameters")
    if sampling is not None:
        yield Place(ledger, _without_places("sampling_parameters", _read_sampling(sampling), *_PLACES))


def _without_places(place: str, fields: dict[str, Any], *names: str) -> dict[str, Any]:
    """Fields that do not hold further ones, which nobody would read."""
    for name in names:
        if fields.get(name) is not None:
            raise InvalidParameter(name, f"`{name}` cannot stand within `{place}`.")
    return fields


def _read_sampling(value: Any) -> dict[str, Any]:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise InvalidParameter("sampling_parameters", "`sampling_parameters` must be the JSON text of an object.")
    return value


def _plain(field: str, value: Any) -> Any:
    """A value without the quotes and the lists of one that it may stand in."""
    if field in _WORDS:
        return [each for each in value if each != ""] if isinstance(value, list) else [value]
    if isinstance(value, list) and len(value) == 1 and field not in LISTS:
        value = value[0]
    if isinstance(value, str) and field in NUMBERS:
        return _number(value)
    if isinstance(value, list) and field == "text_input":
        raise InvalidParameter(field, "The schema can not convert input 'text_input' to tensor with proper shape")
    return value


def _number(text: str) -> Any:
    try:
        number = msgspec.json.decode(text.strip())
    except msgspec.DecodeError:
        return text
    return number if isinstance(number, int | float) and not isinstance(number, bool) else text


def _has_no_words(value: Any) -> bool:
    """Empty strings are how ensembles say none; `stop` false is how another backend says that nothing is cancelled."""
    return value is False or value == "" or (isinstance(value, list) and all(each == "" for each in value))


def _twice(field: str, first: str, second: str) -> str:
    if first == second:
        return f"input '{field}' already exists in request"
    return f"`{first}` and `{second}` mean the same; give one of them."


def _missing_input(model: str, names: list[str]) -> str:
    count = len(Fields.__struct_fields__)
    return (
        f"expected number of inputs between 1 and {count} but got {len(names)} inputs for model '{model}'. Got "
        f"input(s) {names}, but missing required input(s) ['text_input']. Please provide all required input(s)."
    )
