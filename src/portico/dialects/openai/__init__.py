"""The OpenAI dialect: chat completions, completions, responses and models, with what open servers add.

Source: OpenAI API reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from portico.core.dialect import Claim, Describe, Dialect, Generate, MetricAlias, Reply, Route, Tokenize
from portico.core.errors import PorticoError
from portico.core.ledger import Ledger
from portico.dialects.openai import forms
from portico.dialects.openai.decode import decode_chat, decode_completion, decode_invocation, is_invocation
from portico.dialects.openai.errors import refuse
from portico.dialects.openai.ledgers import CHAT, COMPLETION, STREAM_OPTIONS
from portico.dialects.openai.models import list_models, retrieve_model
from portico.dialects.openai.profile import DOCUMENTED as DOCUMENTED
from portico.dialects.openai.profile import Profile as Profile
from portico.dialects.openai.response_format import JSON_SCHEMA, RESPONSE_FORMAT, STRUCTURED_OUTPUTS
from portico.dialects.openai.responses.decode import decode_input_tokens, decode_response
from portico.dialects.openai.responses.ledgers import INPUT_TOKENS, REASONING, RESPONSE, TEXT, TEXT_FORMAT

_CLAIM = Claim(is_invocation, "`messages` or `prompt`")


@dataclass(frozen=True, slots=True)
class OpenAI:
    """The dialect as the server knows it."""

    routes: tuple[Route, ...]
    name: str = "openai"
    title: str = "OpenAI"
    prefixes: tuple[str, ...] = ("/v1",)
    ledgers: tuple[Ledger, ...] = (
        CHAT,
        COMPLETION,
        STREAM_OPTIONS,
        RESPONSE,
        REASONING,
        TEXT,
        TEXT_FORMAT,
        INPUT_TOKENS,
        RESPONSE_FORMAT,
        JSON_SCHEMA,
        STRUCTURED_OUTPUTS,
    )

    metric_aliases: tuple[MetricAlias, ...] = ()

    def refuse(self, error: PorticoError) -> Reply:
        """The error object, with its status."""
        return refuse(error)


def dialect(profile: Profile = DOCUMENTED) -> Dialect:
    """The dialect, with what the operator decides."""
    post = partial(Route, "POST", needs_json_type=True)
    return OpenAI(
        (
            post("/v1/chat/completions", Generate(partial(decode_chat, profile=profile)), form=forms.CHAT),
            post("/v1/completions", Generate(partial(decode_completion, profile=profile)), form=forms.COMPLETION),
            post("/invocations", Generate(partial(decode_invocation, profile=profile)), _CLAIM, form=forms.INVOCATION),
            post("/v1/responses", Generate(partial(decode_response, profile=profile)), form=forms.RESPONSE),
            post("/v1/responses/input_tokens", Tokenize(decode_input_tokens), form=forms.INPUT_TOKENS),
            Route("GET", "/v1/models", Describe(list_models)),
            Route("GET", "/v1/models/{model:path}", Describe(retrieve_model)),
        )
    )
