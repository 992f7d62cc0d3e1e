"""The OpenAI dialect: chat completions, completions and models, with the sampling fields that open servers add.

Source: OpenAI API reference.
"""

from __future__ import annotations

from dataclasses import dataclass

from portico.core.dialect import Describe, Dialect, Generate, MetricAlias, Reply, Route
from portico.core.errors import PorticoError
from portico.core.ledger import Ledger
from portico.dialects.openai.decode import decode_chat, decode_completion
from portico.dialects.openai.errors import refuse
from portico.dialects.openai.ledgers import CHAT, COMPLETION, STREAM_OPTIONS
from portico.dialects.openai.models import list_models, retrieve_model


@dataclass(frozen=True, slots=True)
class OpenAI:
    """The dialect as the server knows it."""

    name: str = "openai"
    title: str = "OpenAI"
    routes: tuple[Route, ...] = (
        Route("POST", "/v1/chat/completions", Generate(decode_chat)),
        Route("POST", "/v1/completions", Generate(decode_completion)),
        Route("GET", "/v1/models", Describe(list_models)),
        Route("GET", "/v1/models/{model:path}", Describe(retrieve_model)),
    )
    prefixes: tuple[str, ...] = ("/v1",)
    ledgers: tuple[Ledger, ...] = (CHAT, COMPLETION, STREAM_OPTIONS)

    metric_aliases: tuple[MetricAlias, ...] = ()

    def refuse(self, error: PorticoError) -> Reply:
        """The error object, with its status."""
        return refuse(error)


def dialect() -> Dialect:
    """The dialect; it has one profile."""
    return OpenAI()
