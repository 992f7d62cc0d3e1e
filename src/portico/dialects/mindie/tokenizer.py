"""`POST /v1/tokenizer`: how many tokens a text has, and which.

Source: MindIE Service's EndPoint API, "/v1/tokenizer".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from portico.core.dialect import RawRequest, Reply
from portico.core.errors import InvalidParameter
from portico.core.request import TextPrompt, TokenizeRequest
from portico.core.tokens import Tokenized, TokenSpan
from portico.dialects import wire
from portico.dialects.mindie import ledgers
from portico.dialects.mindie.schema import TokenizerFields


@dataclass(frozen=True, slots=True)
class TokenizerExchange:
    """A text, and its tokens as text if they are asked for."""

    request: TokenizeRequest
    shows_tokens: bool

    def reply(self, tokenized: Tokenized) -> Reply:
        """The count, and the pieces of the text."""
        pieces = list(_pieces(tokenized.tokens)) if self.shows_tokens else []
        return Reply(200, wire.encode_json({"token_number": len(tokenized.tokens), "tokens": pieces}))


def decode_tokenizer(raw: RawRequest) -> TokenizerExchange:
    """Reads `POST /v1/tokenizer`.

    Raises:
        RequestError: the body is no such request.
    """
    fields = wire.decode_object(raw.body)
    ledgers.TOKENIZER.check(fields)
    body = wire.convert({name: value for name, value in fields.items() if value is not None}, TokenizerFields)
    if not body.inputs:
        raise InvalidParameter("inputs", "`inputs` cannot be empty.")
    return TokenizerExchange(TokenizeRequest(None, TextPrompt(body.inputs, add_special_tokens=True)), body.do_decode)


def _pieces(tokens: Sequence[TokenSpan]) -> Iterator[str]:
    """One piece for each part of the text: several tokens may be the bytes of one character."""
    shown_to = -1
    for token in tokens:
        if token.end == token.start:
            yield token.piece
        elif token.end > shown_to:
            shown_to = token.end
            yield token.text
