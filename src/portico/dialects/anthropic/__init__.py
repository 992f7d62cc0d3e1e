"""The Anthropic dialect: messages, with tools, streams and thinking, and the tokens of a prompt.

`anthropic-version`, `anthropic-beta` and `x-api-key` may be sent and change nothing.

Source: Anthropic API reference, "Messages" and "Count tokens in a message".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from portico.core.dialect import Dialect, Generate, MetricAlias, Reply, Route, Tokenize
from portico.core.errors import PorticoError
from portico.core.ledger import Ledger
from portico.core.model import NO_ADVICE, SamplingDefaults
from portico.dialects.anthropic import forms
from portico.dialects.anthropic.count import decode_count
from portico.dialects.anthropic.decode import decode_messages
from portico.dialects.anthropic.errors import refuse
from portico.dialects.anthropic.ledgers import COUNT, MESSAGES, OUTPUT_CONFIG


@dataclass(frozen=True, slots=True)
class Anthropic:
    """The dialect as the server knows it."""

    routes: tuple[Route, ...]
    name: str = "anthropic"
    title: str = "Anthropic"
    prefixes: tuple[str, ...] = ("/v1/messages",)
    ledgers: tuple[Ledger, ...] = (MESSAGES, OUTPUT_CONFIG, COUNT)

    metric_aliases: tuple[MetricAlias, ...] = ()

    def refuse(self, error: PorticoError) -> Reply:
        """The error object, with its status."""
        return refuse(error)


def dialect(defaults: SamplingDefaults = NO_ADVICE) -> Dialect:
    """The dialect; `defaults` apply where a request says nothing."""
    post = partial(Route, "POST", needs_json_type=True)
    return Anthropic(
        (
            post("/v1/messages", Generate(partial(decode_messages, defaults=defaults)), form=forms.MESSAGES),
            post("/v1/messages/count_tokens", Tokenize(decode_count), form=forms.COUNT),
        )
    )
