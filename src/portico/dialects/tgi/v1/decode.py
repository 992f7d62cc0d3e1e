"""Bodies of the OpenAI routes to requests.

Source: `try_into_generate`, `chat_completions` and `completions` of TGI 3's router.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from portico.core.dialect import Exchange, RawRequest
from portico.core.errors import InvalidParameter
from portico.core.grammar import Grammar
from portico.core.request import ChatPrompt, TextPrompt
from portico.dialects import grammars, wire
from portico.dialects.conversation import decode_conversation
from portico.dialects.tgi import decode
from portico.dialects.tgi.errors import SuffixUnsupported, ToolError, TooManyPrompts
from portico.dialects.tgi.grammar import decode_grammar
from portico.dialects.tgi.profile import Profile
from portico.dialects.tgi.schema import Parameters
from portico.dialects.tgi.v1 import ledgers
from portico.dialects.tgi.v1.chat import ChatExchange
from portico.dialects.tgi.v1.completions import CompletionExchange
from portico.dialects.tgi.v1.layout import Layout
from portico.dialects.tgi.v1.schema import ChatFields, CompletionFields
from portico.dialects.tools import Toolbox, decode_tools

_MAX_BIAS = 100
# What clients write that know of no other model, and TGI takes for its own.
_OWN_NAME = "tgi"


def decode_chat(raw: RawRequest, profile: Profile) -> ChatExchange:
    """Reads `POST /v1/chat/completions`.

    Raises:
        RequestError: what TGI refuses, and what is not honoured.
    """
    body = wire.decode_object(raw.body)
    ledgers.CHAT.check(body)
    fields = wire.convert(_without_nulls(body), ChatFields)
    wire.require_few_messages("messages", fields.messages, raw.limits.max_messages)
    if fields.top_logprobs is not None and not fields.logprobs:
        raise InvalidParameter("top_logprobs", "`top_logprobs` needs `logprobs` to be true")
    toolbox = _toolbox(body, fields)
    prompt = read_conversation(body, fields.messages, toolbox)
    parameters = chat_parameters(fields)
    request = decode.build_request(raw, profile, parameters, (prompt,), stream=fields.stream)
    sampling = replace(
        request.sampling,
        presence_penalty=_presence_penalty(fields.presence_penalty),
        logit_bias=wire.token_biases("logit_bias", fields.logit_bias, _MAX_BIAS, raw.limits.max_token_ids),
        grammar=_response_format(fields.response_format),
    )
    output = replace(request.output, token_details=fields.logprobs, logprobs=None)
    if fields.logprobs:
        output = replace(output, logprobs=fields.top_logprobs or 0)
    if toolbox.callable_names:
        # Reasoning stays in the text, as TGI has no word for it.
        output = replace(output, markup=replace(toolbox.markup(), has_reasoning=False))
    return ChatExchange(
        request=replace(request, sampling=toolbox.constrain(sampling), output=output),
        layout=_layout(raw, profile, fields.model, parameters),
        includes_usage=fields.stream_options.include_usage,
        first_call=_first_call(fields.messages),
    )


def decode_completion(raw: RawRequest, profile: Profile) -> CompletionExchange:
    """Reads `POST /v1/completions`.

    Raises:
        RequestError: what TGI refuses, and what is not honoured.
    """
    body = wire.decode_object(raw.body)
    if body.get("suffix") is not None:
        raise SuffixUnsupported
    ledgers.COMPLETION.check(body)
    fields = wire.convert(_without_nulls(body), CompletionFields)
    texts = [fields.prompt] if isinstance(fields.prompt, str) else fields.prompt
    max_prompts = wire.or_default(profile.max_client_batch_size, raw.limits.max_num_seqs)
    if len(texts) > max_prompts:
        raise TooManyPrompts(max_prompts, len(texts))
    if not texts:
        raise InvalidParameter("prompt", "`prompt` cannot be empty")
    parameters = Parameters(**_sampling(fields), max_new_tokens=fields.max_tokens)
    prompts = tuple(TextPrompt(text, add_special_tokens=True) for text in texts)
    request = decode.build_request(raw, profile, parameters, prompts, stream=fields.stream)
    return CompletionExchange(
        request=replace(request, output=replace(request.output, token_details=False, logprobs=None)),
        layout=_layout(raw, profile, None, parameters),
    )


def decode_invocation(raw: RawRequest, profile: Profile) -> Exchange:
    """Reads `POST /invocations`, where the body tells what it is: the native body first, then a chat.

    Raises:
        RequestError: what the route refuses that the body is for.
    """
    body = wire.decode_object(raw.body)
    if "inputs" in body:
        return decode.decode_root(raw, profile)
    return decode_chat(raw, profile) if "messages" in body else decode_completion(raw, profile)


def claims_invocation(body: bytes) -> bool:
    """Whether a body on a shared path is one of the three."""
    return decode.claims(body, "messages", "prompt")


def chat_parameters(fields: ChatFields) -> Parameters:
    """A chat's parameters by the names of the native routes."""
    max_tokens = fields.max_tokens if fields.max_completion_tokens is None else fields.max_completion_tokens
    return Parameters(**_sampling(fields), max_new_tokens=max_tokens, top_n_tokens=fields.top_logprobs, details=True)


def read_conversation(body: dict[str, Any], messages: list[dict[str, Any]], toolbox: Toolbox) -> ChatPrompt:
    """The conversation; a last message of the assistant is continued, not answered.

    Raises:
        InvalidParameter: there are no messages, or they are not text.
    """
    prompt = decode_conversation(messages, body, False, toolbox.tools)
    decides = body.get("continue_final_message") is not None or body.get("add_generation_prompt") is not None
    if prompt.messages[-1].role != "assistant" or decides:
        return prompt
    return replace(prompt, add_generation_prompt=False, continue_final_message=True)


def _sampling(fields: ChatFields | CompletionFields) -> dict[str, Any]:
    """Only a temperature of 0 turns drawing off."""
    is_greedy = fields.temperature == 0
    return {
        "do_sample": not is_greedy,
        "temperature": None if is_greedy else fields.temperature,
        "top_p": None if fields.top_p == 1 else fields.top_p,
        "frequency_penalty": fields.frequency_penalty,
        "repetition_penalty": fields.repetition_penalty,
        "seed": fields.seed,
        "stop": fields.stop,
    }


def _toolbox(body: dict[str, Any], fields: ChatFields) -> Toolbox:
    if fields.tools is not None and fields.response_format is not None:
        raise ToolError("Grammar and tools are mutually exclusive")
    given = {"tools": fields.tools or None, "tool_choice": _tool_choice(fields.tool_choice)}
    try:
        return decode_tools(given)
    except wire.SchemaMismatch:
        raise
    except InvalidParameter as error:
        raise ToolError(str(error)) from None


def _tool_choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """The name of a tool may stand alone."""
    if not isinstance(choice, str) or choice in ("none", "auto", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}


def _response_format(given: dict[str, Any] | None) -> Grammar | None:
    """TGI's grammar; also what OpenAI writes, without a `value`."""
    path = "response_format"
    match given:
        case {"type": "text", **rest} if not rest:
            return None
        case {"type": "json_object", **rest} if not rest:
            return grammars.json_object(path)
        case {"type": "json_object", "schema": dict(schema), **rest} if not rest:
            return decode_grammar({"type": "json", "value": schema}, path)
        case {"type": "json_schema", "json_schema": schema, **rest} if not rest:
            return decode_grammar({"type": "json_schema", "value": schema}, path)
    return decode_grammar(given, path)


def _presence_penalty(value: float) -> float:
    wire.require_between("presence_penalty", value, -2, 2)
    return value


def _first_call(messages: list[dict[str, Any]]) -> int | None:
    """The number of the first call of the answer; None where ids of earlier ones are no numbers."""
    ids = [str(call.get("id")) for message in messages for call in message.get("tool_calls") or ()]
    if not all(each.isdecimal() for each in ids):
        return None
    return max(map(int, ids), default=-1) + 1


def _layout(raw: RawRequest, profile: Profile, model: str | None, parameters: Parameters) -> Layout:
    return Layout(
        profile=profile,
        model=None if model == _OWN_NAME else model,
        created=int(raw.received_at),
        max_new_tokens=parameters.max_new_tokens,
    )


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
