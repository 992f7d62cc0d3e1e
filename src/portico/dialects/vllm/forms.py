"""What goes over the wire on this dialect's routes."""

from __future__ import annotations

from portico.core.form import Form
from portico.dialects.conversation import ChatMessage, TemplateFields
from portico.dialects.forms import Fields, reading, streaming
from portico.dialects.grammars import Demands
from portico.dialects.tools import Tool, ToolFields
from portico.dialects.vllm import ledgers
from portico.dialects.vllm.profile import Profile
from portico.dialects.vllm.schema import DetokenizeFields, GenerateFields, TokenizeFields

_GENERATE = Fields(
    "vllm.Generate",
    ledgers.GENERATE,
    (GenerateFields,),
    within={
        "structured_outputs": Fields("vllm.StructuredOutputs", ledgers.STRUCTURED_OUTPUTS, (Demands,)),
        "guided_decoding": Fields("vllm.GuidedDecoding", ledgers.GUIDED_DECODING, (Demands,)),
    },
)
_TOKENIZE = Fields(
    "vllm.Tokenize",
    ledgers.TOKENIZE,
    (TokenizeFields, ToolFields, TemplateFields),
    items={"messages": ChatMessage, "tools": Tool},
)
TOKENIZE = reading(_TOKENIZE)
DETOKENIZE = reading(Fields("vllm.Detokenize", ledgers.DETOKENIZE, (DetokenizeFields,)))
HEALTH = Form(answers={200: (), 503: ()})


def generate(profile: Profile) -> Form:
    """Of the route that generates."""
    return streaming(_GENERATE, stream=profile.stream_media_type)
