"""What an output must look like, as the two backends behind this dialect write it.

Source: the vLLM backend, whose `sampling_parameters` take `structured_outputs` and its older name `guided_decoding`;
the TensorRT-LLM backend's `guided_decoding_guide_type` and `guided_decoding_guide`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from portico.core.errors import InvalidParameter
from portico.core.grammar import Grammar
from portico.dialects import grammars
from portico.dialects.triton.fields import Given

STRUCTURED_OUTPUTS = grammars.structured_outputs_ledger("structured_outputs")

_GUIDE, _TYPE = "guided_decoding_guide", "guided_decoding_guide_type"
_TYPES = ("json", "json_schema", "regex", "ebnf_grammar")


def decode_grammar(given: Given) -> Grammar | None:
    """What the output must look like; None is free text.

    Raises:
        UnsupportedParameter: a field that is not honoured.
        InvalidParameter: several demands, or a wrong one.
    """
    found = [
        _structured("structured_outputs", given.fields.structured_outputs),
        _structured("guided_decoding", given.fields.guided_decoding),
        _guide(given),
    ]
    return grammars.only_one("structured_outputs", found)


def _structured(name: str, value: dict[str, Any] | str | None) -> Grammar | None:
    """The object itself, or its JSON text: nested objects do not fit everywhere."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            raise InvalidParameter(name, f"`{name}` must be an object or the JSON text of one.") from None
    return grammars.decode_structured_outputs({name: value}, name)


def _guide(given: Given) -> Grammar | None:
    kind, guide = given.fields.guided_decoding_guide_type, given.fields.guided_decoding_guide
    if not kind and not guide:
        return None
    if kind == "json":
        return grammars.json_object(_TYPE)
    if not guide:
        raise InvalidParameter(_GUIDE, f"`{_GUIDE}` is needed with `{_TYPE}`.")
    match kind:
        case "json_schema":
            return grammars.json_schema(_GUIDE, guide)
        case "regex":
            return grammars.regex(_GUIDE, guide)
        case "ebnf_grammar":
            return grammars.rules(_GUIDE, guide)
    raise InvalidParameter(_TYPE, f"`{_TYPE}` must be one of {', '.join(_TYPES)}, got {kind!r}.")
