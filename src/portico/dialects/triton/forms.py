"""What goes over the wire on this dialect's routes; besides, numbers may stand in quotes and values in lists of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portico.core.errors import UnsupportedParameter
from portico.core.form import EVENTS, JSON, Form, Schema
from portico.core.ledger import Ledger
from portico.dialects.forms import Fields, reading
from portico.dialects.triton import ledgers
from portico.dialects.triton.compression import UnsupportedEncoding
from portico.dialects.triton.envelope import Body
from portico.dialects.triton.errors import (
    ModelControlRefused,
    RepositoryUnsupported,
    SettingRefused,
    SharedMemoryDisabled,
    UnknownVersion,
)
from portico.dialects.triton.schema import SECOND_NAMES
from portico.dialects.triton.schema import Fields as Given

_WORDS = {"type": ["string", "array", "null"], "items": {"type": "string"}}
_OPEN = {"type": ["object", "string", "null"]}
_GIVEN: Mapping[str, Mapping[str, Any]] = {"stop": _WORDS, "bad_words": _WORDS, "sampling_parameters": _OPEN}
_VERSION = UnknownVersion("model", "2")


def _fields(name: str, of: Ledger, *required: str, **within: Fields) -> Fields:
    return Fields(
        name, of, (Given,), takes_null=True, same=SECOND_NAMES, given=_GIVEN, required=required, within=within
    )


_INNER = _fields("triton.Parameters", ledgers.GENERATE)
_GENERATE = _fields("triton.Generate", ledgers.GENERATE, "text_input", parameters=_INNER)
_INFER = Fields(
    "triton.Infer",
    ledgers.INFER,
    (Body,),
    takes_null=True,
    within={"parameters": _fields("triton.InferParameters", ledgers.INFER_FIELDS)},
)


def _settings() -> Schema:
    return Schema({"type": "object"}, {})


def _index() -> Schema:
    properties = {"ready": {"type": ["boolean", "null"]}}
    return Schema({"type": "object", "properties": properties, "additionalProperties": False}, {})


GENERATE = reading(_GENERATE, _VERSION)
GENERATE_STREAM = reading(_GENERATE, _VERSION, answers=(EVENTS,))
INFER = reading(
    _INFER,
    _VERSION,
    UnsupportedEncoding("br"),
    answers=(JSON, "application/octet-stream"),
    binary="application/octet-stream",
)
PROBE = Form(answers={200: (), 503: ()})
MODEL = Form(errors=(_VERSION,))
MODEL_PROBE = Form(answers={200: (), 503: (JSON,)}, errors=(_VERSION,))
INDEX = Form(body=_index, needs_body=False)
SETTINGS = Form(
    body=_settings,
    needs_body=False,
    errors=(SettingRefused("name", "now", "it stays."), UnsupportedParameter("name", "Unknown setting.")),
)
NO_CONTROL = Form(answers={}, errors=(ModelControlRefused(),))
NO_REPOSITORY = Form(answers={}, errors=(RepositoryUnsupported(),))
NO_REGION = Form(answers={}, errors=(SharedMemoryDisabled(),))
EMPTY = Form(answers={200: ()})
