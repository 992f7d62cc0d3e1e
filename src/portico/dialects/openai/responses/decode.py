"""Bodies of `POST /v1/responses` and `/v1/responses/input_tokens` to canonical requests.

Source: OpenAI API reference, "Create a model response" and "Get input token counts".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from portico.core.dialect import Exchange, RawRequest, Reply
from portico.core.errors import InvalidParameter, UnsupportedParameter
from portico.core.grammar import Grammar
from portico.core.model import ServerLimits
from portico.core.request import GenerationRequest, OutputOptions, TokenizeRequest
from portico.core.tokens import Tokenized
from portico.dialects import grammars, wire
from portico.dialects.openai.profile import Profile
from portico.dialects.openai.response_format import check_format_name
from portico.dialects.openai.responses.encode import Head, ResponseExchange
from portico.dialects.openai.responses.ledgers import INPUT_TOKENS, REASONING, RESPONSE, TEXT, TEXT_FORMAT
from portico.dialects.openai.responses.prompt import decode_prompt
from portico.dialects.openai.responses.schema import PromptFields, ResponseFields, TextFormat
from portico.dialects.openai.sampling import decode_sampling, decode_stopping
from portico.dialects.openai.schema import SamplingFields

_LOGPROBS = "message.output_text.logprobs"
_ENCRYPTED = "reasoning.encrypted_content"


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
    drawn = wire.convert(body, SamplingFields)
    structured = grammars.decode_structured_outputs(body, "structured_outputs")
    grammar = grammars.only_one("text.format", [_grammar(fields), structured])
    sampling = toolbox.constrain(decode_sampling(drawn, grammar, raw.limits, profile.defaults))
    logprobs = _logprobs(fields, raw.limits)
    request = GenerationRequest(
        request_id=raw.request_id,
        client_id=None,
        timeout=None,
        model=fields.model or None,
        prompts=(prompt,),
        cache_salt=wire.cache_salt("cache_salt", drawn.cache_salt),
        truncate=None,
        banned_words=(),
        sampling=sampling,
        stopping=decode_stopping(drawn, fields.max_output_tokens, raw.limits, profile.defaults),
        output=OutputOptions(
            num_choices=1,
            token_details=logprobs is not None,
            logprobs=logprobs,
            prompt_logprobs=None,
            prompt_details=False,
            processed_logprobs=False,
            skip_special_tokens=wire.or_default(drawn.skip_special_tokens, True),
            markup=toolbox.markup(),
        ),
        stream=fields.stream or False,
    )
    head = Head(raw.request_id, int(raw.received_at), _settings(body, request))
    return ResponseExchange(request, head, shows_reasoning=wire.or_default(fields.include_reasoning, True))


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
    text = body.get("text")
    if isinstance(text, dict) and isinstance(text.get("format"), dict):
        TEXT_FORMAT.check(text["format"])


def _logprobs(fields: ResponseFields, limits: ServerLimits) -> int | None:
    """The most likely tokens per place of the text; None is no log-probabilities at all."""
    for each in fields.include or ():
        if each not in (_LOGPROBS, _ENCRYPTED):
            raise UnsupportedParameter(
                "include", f"`include` is not supported with {each!r} (accepted: {_LOGPROBS}, {_ENCRYPTED})."
            )
    if fields.top_logprobs is not None:
        wire.require_between("top_logprobs", fields.top_logprobs, 0, limits.max_logprobs)
    if _LOGPROBS in (fields.include or ()):
        return fields.top_logprobs or 0
    if fields.top_logprobs:
        raise InvalidParameter("top_logprobs", f"`top_logprobs` needs {_LOGPROBS!r} in `include`.")
    return None


def _grammar(fields: PromptFields) -> Grammar | None:
    """The form of the text, where one is asked for."""
    form = None if fields.text is None else fields.text.format
    if form is None or form.type == "text":
        return None
    return _json_schema(form) if form.type == "json_schema" else grammars.json_object("text.format")


def _json_schema(form: TextFormat) -> Grammar:
    for path, value in (("text.format.name", form.name), ("text.format.schema", form.json_schema)):
        if value is None:
            raise wire.SchemaMismatch(path, f"`{path}` is required with the type json_schema.", is_missing=True)
    check_format_name("text.format.name", form.name or "")
    return grammars.json_schema("text.format.schema", form.json_schema or {})


def _settings(body: dict[str, Any], request: GenerationRequest) -> dict[str, Any]:
    """What an answer repeats of its request."""
    reasoning = body.get("reasoning") or {}
    text = body.get("text") or {}
    asked = {} if body.get("top_logprobs") is None else {"top_logprobs": body["top_logprobs"]}
    return asked | {
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
