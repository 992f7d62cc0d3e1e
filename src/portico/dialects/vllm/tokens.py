"""`POST /tokenize` and `POST /detokenize`: what the model reads, without generating.

Source: vLLM's API server, `TokenizeCompletionRequest`, `TokenizeChatRequest` and `DetokenizeRequest`.
"""

from __future__ import annotations

from dataclasses import dataclass

from portico.core.dialect import RawRequest, Reply
from portico.core.errors import InvalidParameter
from portico.core.request import DetokenizeRequest, TextPrompt, TokenizeRequest
from portico.core.tokens import Tokenized
from portico.dialects import wire
from portico.dialects.conversation import decode_conversation
from portico.dialects.tools import decode_tools
from portico.dialects.vllm.ledgers import DETOKENIZE, TOKENIZE
from portico.dialects.vllm.profile import Profile
from portico.dialects.vllm.schema import DetokenizeFields, TokenizeFields

_CHAT_ONLY = ("add_generation_prompt", "continue_final_message", "chat_template", "chat_template_kwargs", "tools")


@dataclass(frozen=True, slots=True)
class TokenizeExchange:
    """A prompt, and its tokens as ids, with their spellings if they are asked for."""

    request: TokenizeRequest
    shows_pieces: bool

    def reply(self, tokenized: Tokenized) -> Reply:
        """The count, the ids and the spellings."""
        answer = {
            "count": len(tokenized.tokens),
            "max_model_len": tokenized.max_model_len,
            "tokens": [token.id for token in tokenized.tokens],
            "token_strs": [token.piece for token in tokenized.tokens] if self.shows_pieces else None,
        }
        return Reply(200, wire.encode_json(answer))


@dataclass(frozen=True, slots=True)
class DetokenizeExchange:
    """Token ids, and their text."""

    request: DetokenizeRequest

    def reply(self, text: str) -> Reply:
        """The text."""
        return Reply(200, wire.encode_json({"prompt": text}))


def decode_tokenize(raw: RawRequest, profile: Profile) -> TokenizeExchange:
    """A request to `POST /tokenize`, with a prompt or with messages.

    Raises:
        RequestError: the body is no such request, or asks for what this server does not do.
    """
    body = wire.decode_object(raw.body)
    TOKENIZE.check(body)
    fields = wire.convert(body, TokenizeFields)
    model, shows_pieces = fields.model or None, fields.return_token_strs or False
    if fields.messages is not None and fields.prompt is None:
        wire.require_few_messages("messages", fields.messages, raw.limits.max_messages)
        tools = decode_tools(body).tools
        prompt = decode_conversation(fields.messages, body, profile.trusts_chat_template, tools)
        return TokenizeExchange(TokenizeRequest(model, prompt), shows_pieces)
    if fields.prompt is None or fields.messages is not None:
        raise InvalidParameter("prompt", "The body must have either `prompt` or `messages`.")
    for name in _CHAT_ONLY:
        if body.get(name) is not None:
            raise InvalidParameter(name, f"`{name}` needs `messages` instead of `prompt`.")
    text = TextPrompt(fields.prompt, wire.or_default(fields.add_special_tokens, True))
    return TokenizeExchange(TokenizeRequest(model, text), shows_pieces)


def decode_detokenize(raw: RawRequest) -> DetokenizeExchange:
    """A request to `POST /detokenize`.

    Raises:
        RequestError: the body is no such request.
    """
    body = wire.decode_object(raw.body)
    DETOKENIZE.check(body)
    fields = wire.convert(body, DetokenizeFields)
    token_ids = wire.token_ids("tokens", fields.tokens)
    return DetokenizeExchange(DetokenizeRequest(fields.model or None, token_ids, skip_special_tokens=False))
