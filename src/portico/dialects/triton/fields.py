"""Gathers the fields of a generate request from the places and under the names that clients use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from portico.core.errors import InvalidParameter
from portico.core.ledger import Ledger
from portico.dialects import wire
from portico.dialects.triton.schema import LISTS, NUMBERS, SECOND_NAMES, Fields

_PLACES = ("parameters", "sampling_parameters")


@dataclass(frozen=True, slots=True)
class Given:
    """The fields of a request, and the client's own name for each."""

    fields: Fields
    names: dict[str, str]

    def name(self, field: str) -> str:
        """What the client called a field."""
        return self.names.get(field, field)


def gather(body: bytes, ledger: Ledger, model: str) -> Given:
    """Reads a body; `model` is named in errors.

    Raises:
        MalformedRequest: it is not a JSON object.
        InvalidParameter: a field is missing, has a wrong type or is given twice.
        UnsupportedParameter: a field is not honoured.
    """
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    for place in _spread(wire.decode_object(body)):
        ledger.check(place)
        for name, value in place.items():
            field = SECOND_NAMES.get(name, name)
            if name in _PLACES or value is None or (field == "stop" and _is_no_stop(value)):
                continue
            if field in values:
                raise InvalidParameter(name, _twice(field, names[field], name))
            values[field] = _plain(field, value)
            names[field] = name
    if "text_input" not in values:
        raise InvalidParameter("text_input", _missing_input(model))
    wanted = {field: value for field, value in values.items() if field in Fields.__struct_fields__}
    try:
        return Given(wire.convert(wanted, Fields), names)
    except InvalidParameter as error:
        given = names.get(error.name, error.name)
        raise InvalidParameter(given, str(error).replace(f"`{error.name}`", f"`{given}`")) from None


def _spread(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The top of the body and the objects within it that hold fields too."""
    yield fields
    parameters = fields.get("parameters")
    if parameters is not None:
        if not isinstance(parameters, dict):
            raise InvalidParameter("parameters", "Expected JSON object for keyword: 'parameters'")
        yield _without_places("parameters", parameters, "parameters")
    for place in (fields, parameters or {}):
        sampling = place.get("sampling_parameters")
        if sampling is not None:
            yield _without_places("sampling_parameters", _read_sampling(sampling), *_PLACES)


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
    if field == "stop":
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


def _is_no_stop(value: Any) -> bool:
    """`stop` false is another backend's way to say that this is not a request to cancel."""
    return value is False or value == "" or (isinstance(value, list) and all(each == "" for each in value))


def _twice(field: str, first: str, second: str) -> str:
    if first == second:
        return f"input '{field}' already exists in request"
    return f"`{first}` and `{second}` mean the same; give one of them."


def _missing_input(model: str) -> str:
    count = len(Fields.__struct_fields__)
    return (
        f"expected number of inputs between 1 and {count} but got 0 inputs for model '{model}'. Got input(s) [], but "
        "missing required input(s) ['text_input']. Please provide all required input(s)."
    )
