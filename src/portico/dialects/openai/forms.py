"""What goes over the wire on this dialect's routes."""

from __future__ import annotations

from dataclasses import replace

from portico.core.form import Schema
from portico.dialects.conversation import ChatMessage, TemplateFields
from portico.dialects.forms import Fields, reading, streaming
from portico.dialects.grammars import Demands, GuidedFields
from portico.dialects.openai import ledgers
from portico.dialects.openai.response_format import (
    JSON_SCHEMA,
    RESPONSE_FORMAT,
    STRUCTURED_OUTPUTS,
    Format,
    NamedSchema,
)
from portico.dialects.openai.responses import ledgers as of_responses
from portico.dialects.openai.responses.schema import PromptFields, ResponseFields
from portico.dialects.openai.schema import ChatFields, CompletionFields, SamplingFields, StreamOptions
from portico.dialects.tools import Tool, ToolFields

_SCHEMA = Fields("openai.JsonSchema", JSON_SCHEMA, (NamedSchema,))
_WITHIN = {
    "stream_options": Fields("openai.StreamOptions", ledgers.STREAM_OPTIONS, (StreamOptions,)),
    "response_format": Fields("openai.ResponseFormat", RESPONSE_FORMAT, (Format,), within={"json_schema": _SCHEMA}),
    "structured_outputs": Fields("openai.StructuredOutputs", STRUCTURED_OUTPUTS, (Demands,)),
}
_CHAT = Fields(
    "openai.Chat",
    ledgers.CHAT,
    (ChatFields, ToolFields, TemplateFields, GuidedFields),
    items={"messages": ChatMessage, "tools": Tool},
    within=_WITHIN,
)
_COMPLETION = Fields("openai.Completion", ledgers.COMPLETION, (CompletionFields, GuidedFields), within=_WITHIN)
_RESPONSE = Fields(
    "openai.Response",
    of_responses.RESPONSE,
    (SamplingFields, ResponseFields),
    within={"structured_outputs": _WITHIN["structured_outputs"]},
)
_INPUT_TOKENS = Fields("openai.InputTokens", of_responses.INPUT_TOKENS, (PromptFields,))

CHAT = streaming(_CHAT)
COMPLETION = streaming(_COMPLETION)
RESPONSE = streaming(_RESPONSE)
INPUT_TOKENS = reading(_INPUT_TOKENS)


def _either() -> Schema:
    chat, completion = _CHAT.schema(), _COMPLETION.schema()
    return Schema({"anyOf": [chat.root, completion.root]}, {**chat.parts, **completion.parts})


INVOCATION = replace(CHAT, body=_either)
