"""`POST /tokenize` and `POST /chat_tokenize`: what the model reads, with the places of the tokens in bytes.

Source: TGI's router, `tokenize` and `get_chat_tokenize`.
"""

from __future__ import annotations

from dataclasses import dataclass

from portico.core.dialect import RawRequest, Reply
from portico.core.errors import InvalidParameter
from portico.core.request import TextPrompt, TokenizeRequest
from portico.core.tokens import Tokenized
from portico.dialects import wire
from portico.dialects.conversation import decode_conversation
from portico.dialects.tgi import decode, ledgers
from portico.dialects.tgi.profile import Profile
from portico.dialects.tgi.schema import ChatTokenizeFields
from portico.dialects.tools import decode_tools


@dataclass(frozen=True, slots=True)
class TokenizeExchange:
    """A prompt and its tokens; those of a conversation come with its text."""

    request: TokenizeRequest
    is_chat: bool

    def reply(self, tokenized: Tokenized) -> Reply:
        """The tokens; those that the tokenizer has added by itself have no place."""
        tokens = wire.encode_list(
            {"id": token.id, "text": token.text, "start": token.start, "stop": token.end} for token in tokenized.tokens
        )
        if not self.is_chat:
            return Reply(200, wire.encode_json(tokens))
        return Reply(200, wire.encode_json({"tokenize_response": tokens, "templated_text": tokenized.text}))


def decode_tokenize(raw: RawRequest, profile: Profile) -> TokenizeExchange:
    """Reads `POST /tokenize`, whose bodies are those of `POST /generate`; only the prompt matters.

    Raises:
        RequestError: the body is no such request.
    """
    body, _ = decode.read(raw.body, ledgers.GENERATE, profile)
    if not body.inputs:
        raise InvalidParameter("inputs", "`inputs` cannot be empty")
    return TokenizeExchange(TokenizeRequest(None, TextPrompt(body.inputs, add_special_tokens=True)), is_chat=False)


def decode_chat_tokenize(raw: RawRequest) -> TokenizeExchange:
    """Reads `POST /chat_tokenize`: a chat request, of which only the conversation matters.

    Raises:
        RequestError: the body is no such request.
    """
    body = wire.decode_object(raw.body)
    ledgers.CHAT_TOKENIZE.check(body)
    fields = wire.convert(body, ChatTokenizeFields)
    wire.require_few_messages("messages", fields.messages, raw.limits.max_messages)
    toolbox = decode_tools({name: body.get(name) for name in ("tools", "tool_choice")})
    prompt = decode_conversation(fields.messages, body, trusts_template=False, tools=toolbox.tools)
    return TokenizeExchange(TokenizeRequest(None, prompt), is_chat=True)
