"""`POST /v1/messages/count_tokens`: how many tokens a prompt has.

Source: Anthropic API reference, "Count tokens in a message".
"""

from __future__ import annotations

from dataclasses import dataclass

from portico.core.dialect import RawRequest, Reply
from portico.core.request import TokenizeRequest
from portico.core.tokens import Tokenized
from portico.dialects import wire
from portico.dialects.anthropic.decode import check_output_config
from portico.dialects.anthropic.ledgers import COUNT
from portico.dialects.anthropic.prompt import decode_prompt
from portico.dialects.anthropic.schema import PromptFields


@dataclass(frozen=True, slots=True)
class CountExchange:
    """A prompt, and the number of its tokens."""

    request: TokenizeRequest

    def reply(self, tokenized: Tokenized) -> Reply:
        """The count."""
        return Reply(200, wire.encode_json({"input_tokens": len(tokenized.tokens)}))


def decode_count(raw: RawRequest) -> CountExchange:
    """A request to `POST /v1/messages/count_tokens`.

    Raises:
        RequestError: the body is no such request, or asks for what this server does not do.
    """
    body = wire.decode_object(raw.body)
    COUNT.check(body)
    check_output_config(body)
    fields = wire.convert(body, PromptFields)
    prompt, _ = decode_prompt(fields, raw.limits)
    return CountExchange(TokenizeRequest(fields.model or None, prompt))
