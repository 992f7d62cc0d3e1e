"""What goes over the wire on this dialect's routes."""

from __future__ import annotations

from dataclasses import replace

from portico.core.form import EVENTS, JSON, Form, Schema
from portico.core.ledger import Ledger
from portico.dialects.conversation import ChatMessage, TemplateFields
from portico.dialects.forms import Fields, reading
from portico.dialects.tgi import ledgers
from portico.dialects.tgi.errors import SuffixUnsupported, ToolError, TooManyPrompts
from portico.dialects.tgi.grammar import GRAMMAR, Tagged
from portico.dialects.tgi.schema import Body, ChatTokenizeFields, Parameters
from portico.dialects.tgi.v1 import ledgers as v1
from portico.dialects.tgi.v1.schema import ChatFields, CompletionFields
from portico.dialects.tgi.vertex import INSTANCE, VERTEX, Instance, VertexBody
from portico.dialects.tools import Tool, ToolFields

_PARAMETERS = Fields(
    "tgi.Parameters",
    ledgers.PARAMETERS,
    (Parameters,),
    within={"grammar": Fields("tgi.Grammar", GRAMMAR, (Tagged,))},
    takes_null=True,
)


def _body(name: str, ledger: Ledger) -> Fields:
    return Fields(name, ledger, (Body,), within={"parameters": _PARAMETERS}, takes_null=True)


_BROKEN_OFF = {500: (JSON,)}
_GENERATE = _body("tgi.Generate", ledgers.GENERATE)
_INSTANCE = Fields(
    "tgi.Instance",
    INSTANCE,
    (Instance,),
    items={"messages": ChatMessage},
    within={"parameters": _PARAMETERS},
    takes_null=True,
)


def _generating(body: Fields, *media_types: str) -> Form:
    form = reading(body, ToolError("Tools."), SuffixUnsupported(), TooManyPrompts(4, 5))
    return Form(form.body, answers={200: media_types, **_BROKEN_OFF}, errors=form.errors)


GENERATE = _generating(_GENERATE, JSON)
GENERATE_STREAM = _generating(_body("tgi.GenerateStream", ledgers.GENERATE_STREAM), EVENTS)
ROOT = _generating(_body("tgi.Root", ledgers.ROOT), JSON, EVENTS)
VERTEX_FORM = _generating(
    Fields(
        "tgi.Vertex",
        VERTEX,
        (VertexBody,),
        lists={"instances": _INSTANCE},
    ),
    JSON,
)
TOKENIZE = reading(_GENERATE)
CHAT_TOKENIZE = reading(
    Fields(
        "tgi.ChatTokenize",
        ledgers.CHAT_TOKENIZE,
        (ChatTokenizeFields, ToolFields, TemplateFields),
        items={"messages": ChatMessage, "tools": Tool},
    )
)
CHAT = _generating(
    Fields(
        "tgi.Chat",
        v1.CHAT,
        (ChatFields, TemplateFields),
        items={"messages": ChatMessage, "tools": Tool},
        takes_null=True,
    ),
    JSON,
    EVENTS,
)
COMPLETION = _generating(Fields("tgi.Completion", v1.COMPLETION, (CompletionFields,), takes_null=True), JSON, EVENTS)


def _any() -> Schema:
    found = [form.body() for form in (CHAT, COMPLETION, ROOT) if form.body]
    parts = {name: part for schema in found for name, part in schema.parts.items()}
    return Schema({"anyOf": [schema.root for schema in found]}, parts)


INVOCATION = replace(CHAT, body=_any)
HEALTH = Form(answers={200: (), 503: (JSON,)})
