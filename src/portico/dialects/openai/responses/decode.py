"""Bodies of `POST /v1/responses` and `/v1/responses/input_tokens` to canonical requests.

Source: OpenAI API reference, "Create a model response" and "Get input token counts".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from portico.core.dialect import Exchange, RawRequest, Reply
from portico.core.grammar import Grammar
from portico.core.request import GenerationRequest, OutputOptions, TokenizeRequest
from portico.core.tokens import Tokenized
from portico.dialects import grammars, wire
from portico.dialects.openai.profile import Profile
from portico.dialects.openai.responses.encode import Head, ResponseExchange
from portico.dialects.openai.responses.ledgers import INPUT_TOKENS, REASONING, RESPONSE, TEXT
from portico.dialects.openai.responses.prompt import decode_prompt
from portico.dialects.openai.responses.schema import PromptFields, ResponseFields
from portico.dialects.openai.sampling import decode_sampling, decode_stopping
from portico.dialects.openai.schema import SamplingFields


@dataclass(frozen=True, slots=True)
class InputTokensExchange:
    """A prompt, and the number of its tokens."""

    request: TokenizeRequest

    def reply(self, tokenized: Tokenized) -> Reply:
        """The count."""
        return Reply(200, wire.encode_json({"object": "response.input_tokens", "input_tokens": len(tokenized.tokens)}))


def decode_response(raw: RawRequest, profile: Profile) -> Exchange:
    """A request to `POST /v1/responses`.

    Raises:
        RequestError: the body is no such request, or asks for what this server does not do.
    """
    body = wire.decode_object(raw.body)
    RESPONSE.check(body)
    _check_inner(body)
    fields = wire.convert(body, ResponseFields)
    if fields.max_output_tokens is not None:
        wire.require_between("max_output_tokens", fields.max_output_tokens, 1)
    prompt, toolbox = decode_prompt(fields, raw.limits)
    drawn = SamplingFields(temperature=fields.temperature, top_p=fields.top_p)
    sampling = toolbox.constrain(decode_sampling(drawn, _grammar(fields), raw.limits, profile.defaults))
    request = GenerationRequest(
        request_id=raw.request_id,
        client_id=None,
        timeout=None,
        model=fields.model or None,
        prompts=(prompt,),
        cache_salt="",
        truncate=None,
        banned_words=(),
        sampling=sampling,
        stopping=decode_stopping(drawn, fields.max_output_tokens, raw.limits, profile.defaults),
        output=OutputOptions(
            num_choices=1,
            token_details=False,
            logprobs=None,
            prompt_logprobs=None,
            prompt_details=False,
            processed_logprobs=False,
            skip_special_tokens=True,
            markup=toolbox.markup(),
        ),
        stream=fields.stream or False,
    )
    return ResponseExchange(request, Head(raw.request_id, int(raw.received_at), _settings(body, request)))


def decode_input_tokens(raw: RawRequest) -> InputTokensExchange:
    """A request to `POST /v1/responses/input_tokens`.

    Raises:
        RequestError: the body is no such request, or asks for what this server does not do.
    """
    body = wire.decode_object(raw.body)
    INPUT_TOKENS.check(body)
    _check_inner(body)
    fields = wire.convert(body, PromptFields)
    _grammar(fields)
    prompt, _ = decode_prompt(fields, raw.limits)
    return InputTokensExchange(TokenizeRequest(fields.model or None, prompt))


def _check_inner(body: dict[str, Any]) -> None:
    for ledger in (REASONING, TEXT):
        if isinstance(body.get(ledger.scope), dict):
            ledger.check(body[ledger.scope])


def _grammar(fields: PromptFields) -> Grammar | None:
    """The form of the text, where one is asked for."""
    form = None if fields.text is None else fields.text.format
    match None if form is None else form.type:
        case "json_object":
            return grammars.json_object("text.format")
        case "json_schema":
            schema = None if form is None else form.json_schema
            if schema is None:
                path = "text.format.schema"
                raise wire.SchemaMismatch(path, f"`{path}` is required with the type json_schema.", is_missing=True)
            return grammars.json_schema("text.format.schema", schema)
    return None


def _settings(body: dict[str, Any], request: GenerationRequest) -> dict[str, Any]:
    """What an answer repeats of its request."""
    reasoning = body.get("reasoning") or {}
    text = body.get("text") or {}
    return {
        "background": False,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": wire.or_default(body.get("parallel_tool_calls"), True),
        "previous_response_id": None,
        "reasoning": {"effort": reasoning.get("effort"), "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": request.sampling.temperature,
        "text": {"format": text.get("format") or {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": request.sampling.top_p,
        "truncation": "disabled",
        "user": body.get("user"),
    }
