"""Bodies of the generating routes to canonical requests.

Source: OpenAI API reference, "Create chat completion" and "Create completion", and what open servers add to both.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import msgspec

from portico.core.dialect import Exchange, RawRequest
from portico.core.errors import InvalidParameter
from portico.core.grammar import Grammar
from portico.core.model import ServerLimits
from portico.core.request import ChatPrompt, GenerationRequest, OutputOptions, Prompt, TextPrompt, TokensPrompt
from portico.dialects import wire
from portico.dialects.conversation import decode_conversation
from portico.dialects.openai.chat import ChatExchange
from portico.dialects.openai.completions import CompletionExchange
from portico.dialects.openai.encode import Envelope, Layout
from portico.dialects.openai.ledgers import CHAT, COMPLETION, STREAM_OPTIONS
from portico.dialects.openai.profile import Profile
from portico.dialects.openai.response_format import decode_grammar
from portico.dialects.openai.sampling import (
    decode_bad_words,
    decode_sampling,
    decode_stopping,
    decode_truncation,
)
from portico.dialects.openai.schema import ChatFields, CompletionFields, Kind, SamplingFields
from portico.dialects.tools import decode_tools

_MAX_PROMPTS = 1024
_COMPLETION_MAX_TOKENS = 16
_SERVICE_TIER = "default"
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")

# What TGI's clients (huggingface_hub and text-generation) send by themselves, where no model is named.
_PLACEHOLDERS = ("", "dummy", "tgi")

_kind_decoder = msgspec.json.Decoder(Kind)


def is_invocation(body: bytes) -> bool:
    """Whether the body is a JSON object with `messages` or `prompt`."""
    try:
        kind = _kind_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return kind.messages is not msgspec.UNSET or kind.prompt is not msgspec.UNSET


def decode_invocation(raw: RawRequest, profile: Profile) -> Exchange:
    """A request to `POST /invocations`, where the body tells what it is.

    Raises:
        RequestError: the body is neither request, or asks for what this server does not do.
    """
    fields = wire.decode_object(raw.body)
    if "messages" in fields:
        return decode_chat(raw, profile)
    if "prompt" in fields:
        return decode_completion(raw, profile)
    raise InvalidParameter("", "The body must have `messages` or `prompt`.")


def decode_chat(raw: RawRequest, profile: Profile) -> Exchange:
    """A request to `POST /v1/chat/completions`.

    Raises:
        RequestError: the body is no such request, or asks for what this server does not do.
    """
    fields = wire.decode_object(raw.body)
    CHAT.check(fields)
    _check_stream_options(fields)
    chat = wire.convert(fields, ChatFields)
    _check_max_tokens("max_completion_tokens", chat.max_completion_tokens, 1)
    _check_max_tokens("max_tokens", chat.max_tokens, 1)
    logprobs = _chat_logprobs(chat, raw.limits)
    prompt_logprobs = _prompt_logprobs(chat, raw.limits)
    max_tokens = chat.max_tokens if chat.max_completion_tokens is None else chat.max_completion_tokens
    wire.require_few_messages("messages", chat.messages, raw.limits.max_messages)
    toolbox = decode_tools(fields)
    prompt = decode_conversation(chat.messages, fields, profile.trusts_chat_template, toolbox.tools)
    prompt = _with_effort(prompt, chat.reasoning_effort)
    last = prompt.messages[-1]
    # The answer speaks as the assistant, unless it goes on with the last message.
    repeats = chat.echo and (last.role == "assistant" or not prompt.add_generation_prompt)
    output = _output(chat, _num_choices(chat.n, raw.limits), logprobs, prompt_logprobs, False)
    layout = replace(_layout(chat), shows_prompt_text=chat.return_prompt_text or False)
    prompt_details = output.prompt_details or layout.shows_prompt_text
    output = replace(output, markup=toolbox.markup(), prompt_details=prompt_details)
    request = _request(raw, profile, chat, decode_grammar(fields), (prompt,), max_tokens, output)
    return ChatExchange(
        request=replace(request, sampling=toolbox.constrain(request.sampling)),
        envelope=_envelope("chatcmpl", raw, chat),
        layout=layout,
        echo=last.content if repeats else "",
        shows_reasoning=wire.or_default(chat.include_reasoning, True),
        tells_calls_in_reason=not toolbox.is_named,
    )


def decode_completion(raw: RawRequest, profile: Profile) -> Exchange:
    """A request to `POST /v1/completions`.

    Raises:
        RequestError: the body is no such request, or asks for what this server does not do.
    """
    fields = wire.decode_object(raw.body)
    COMPLETION.check(fields)
    _check_stream_options(fields)
    completion = wire.convert(fields, CompletionFields)
    prompts = _prompts(completion)
    num_choices = _num_choices(completion.n, raw.limits)
    best_of = _best_of(completion, num_choices, raw.limits)
    logprobs = completion.logprobs
    if logprobs is not None:
        wire.require_between("logprobs", logprobs, 0, raw.limits.max_logprobs)
    # Without output there is something to answer only where the prompt is shown.
    _check_max_tokens("max_tokens", completion.max_tokens, 0 if completion.echo else 1)
    max_tokens = _COMPLETION_MAX_TOKENS if completion.max_tokens is None else completion.max_tokens
    # Ranking needs the log-probabilities of what was drawn, also where the answer shows none.
    drawn_logprobs = 0 if logprobs is None and best_of > num_choices else logprobs
    echoed_logprobs = logprobs if completion.echo else None
    asked = [each for each in (_prompt_logprobs(completion, raw.limits), echoed_logprobs) if each is not None]
    output = _output(completion, best_of, drawn_logprobs, max(asked, default=None), _echoes_tokens(completion, prompts))
    return CompletionExchange(
        request=_request(raw, profile, completion, decode_grammar(fields), prompts, max_tokens, output),
        envelope=_envelope("cmpl", raw, completion),
        layout=_layout(completion),
        num_choices=num_choices,
        logprobs=logprobs,
        echoes=completion.echo or False,
    )


def _request(
    raw: RawRequest,
    profile: Profile,
    fields: SamplingFields,
    grammar: Grammar | None,
    prompts: tuple[Prompt, ...],
    max_tokens: int | None,
    output: OutputOptions,
) -> GenerationRequest:
    return GenerationRequest(
        request_id=raw.request_id,
        client_id=None,
        timeout=None,
        model=None if fields.model in _PLACEHOLDERS else fields.model,
        prompts=prompts,
        cache_salt=wire.cache_salt("cache_salt", fields.cache_salt),
        truncate=decode_truncation(fields),
        banned_words=decode_bad_words(fields),
        sampling=decode_sampling(fields, grammar, raw.limits, profile.defaults),
        stopping=decode_stopping(fields, max_tokens, raw.limits, profile.defaults),
        output=output,
        stream=fields.stream or False,
    )


def _envelope(prefix: str, raw: RawRequest, fields: SamplingFields) -> Envelope:
    """The head of the answer, named as the client wants it: by the header first, as open servers do."""
    if fields.request_id is not None and not _NAME.match(fields.request_id):
        raise InvalidParameter(
            "request_id", "`request_id` must be 1 to 128 letters, digits, dots, colons, underscores and dashes."
        )
    header = raw.headers.get("x-request-id", "")
    name = header if _NAME.match(header) else fields.request_id or raw.request_id
    tier = None if fields.service_tier is None else _SERVICE_TIER
    return Envelope(f"{prefix}-{name}", int(raw.received_at), tier)


def _with_effort(prompt: ChatPrompt, effort: str | None) -> ChatPrompt:
    """With what chat templates read of the effort; what the request says to the template itself goes before it."""
    if effort is None:
        return prompt
    read = {"reasoning_effort": effort} | ({"enable_thinking": False} if effort == "none" else {})
    return replace(prompt, template_arguments={**read, **prompt.template_arguments})


def _output(
    fields: SamplingFields,
    num_choices: int,
    logprobs: int | None,
    prompt_logprobs: int | None,
    echoes_tokens: bool,
) -> OutputOptions:
    return OutputOptions(
        num_choices=num_choices,
        token_details=logprobs is not None,
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
        prompt_details=echoes_tokens or prompt_logprobs is not None or bool(fields.return_token_ids),
        processed_logprobs=False,
        skip_special_tokens=wire.or_default(fields.skip_special_tokens, True),
    )


def _layout(fields: SamplingFields) -> Layout:
    options = fields.stream_options
    includes_usage = bool(options and options.include_usage)
    return Layout(
        includes_usage=includes_usage,
        repeats_usage=includes_usage and bool(options and options.continuous_usage_stats),
        shows_token_ids=fields.return_token_ids or False,
        names_tokens_by_id=fields.return_tokens_as_token_ids or False,
        prompt_logprobs=fields.prompt_logprobs,
    )


def _prompt_logprobs(fields: SamplingFields, limits: ServerLimits) -> int | None:
    if fields.prompt_logprobs is None:
        return None
    wire.require_between("prompt_logprobs", fields.prompt_logprobs, 0, limits.max_logprobs)
    if fields.stream:
        raise InvalidParameter("prompt_logprobs", "`prompt_logprobs` are not available when `stream=True`.")
    return fields.prompt_logprobs


def _chat_logprobs(chat: ChatFields, limits: ServerLimits) -> int | None:
    if chat.top_logprobs is not None:
        wire.require_between("top_logprobs", chat.top_logprobs, 0, limits.max_logprobs)
        if not chat.logprobs:
            raise InvalidParameter("top_logprobs", "`top_logprobs` needs `logprobs` to be true.")
    return chat.top_logprobs or 0 if chat.logprobs else None


def _echoes_tokens(completion: CompletionFields, prompts: tuple[Prompt, ...]) -> bool:
    """The echo of ids, of a cut prompt, and of any prompt with log-probabilities is made of its tokens."""
    is_known = completion.truncate_prompt_tokens is None and all(isinstance(each, TextPrompt) for each in prompts)
    return bool(completion.echo) and (completion.logprobs is not None or not is_known)


def _prompts(completion: CompletionFields) -> tuple[Prompt, ...]:
    prompt = completion.prompt
    if prompt is None:
        raise wire.SchemaMismatch("prompt", "`prompt` is required.", is_missing=True)
    if isinstance(prompt, list) and prompt and all(isinstance(each, int) for each in prompt):
        prompt = [[each for each in prompt if isinstance(each, int)]]
    several = prompt if isinstance(prompt, list) else [prompt]
    if len({type(each) for each in several}) != 1:
        raise InvalidParameter(
            "prompt", "`prompt` must be a string, a list of strings, token ids, or a list of lists of token ids."
        )
    if len(several) > _MAX_PROMPTS:
        raise InvalidParameter("prompt", f"`prompt` can have at most {_MAX_PROMPTS} prompts, got {len(several)}.")
    return tuple(_prompt(each, wire.or_default(completion.add_special_tokens, True)) for each in several)


def _prompt(given: str | int | list[int], add_special_tokens: bool) -> Prompt:
    if isinstance(given, int) or not given:
        raise InvalidParameter("prompt", "`prompt` must not be empty.")
    if isinstance(given, str):
        return TextPrompt(given, add_special_tokens)
    return TokensPrompt(wire.token_ids("prompt", given))


def _best_of(completion: CompletionFields, num_choices: int, limits: ServerLimits) -> int:
    best_of = completion.best_of
    if best_of is None:
        return num_choices
    wire.require_between("best_of", best_of, 1, limits.max_choices)
    if best_of < num_choices:
        raise InvalidParameter("best_of", f"`best_of` must be at least `n` ({num_choices}), got {best_of}.")
    if best_of > num_choices and completion.stream:
        raise InvalidParameter("best_of", "`best_of` cannot be greater than `n` with `stream`.")
    return best_of


def _num_choices(given: int | None, limits: ServerLimits) -> int:
    num_choices = wire.or_default(given, 1)
    wire.require_between("n", num_choices, 1, limits.max_choices)
    return num_choices


def _check_max_tokens(name: str, given: int | None, least: int) -> None:
    if given is not None:
        wire.require_between(name, given, least)


def _check_stream_options(fields: dict[str, Any]) -> None:
    options = fields.get("stream_options")
    if options is None:
        return
    if not fields.get("stream"):
        raise InvalidParameter("stream_options", "`stream_options` needs `stream` to be true.")
    if isinstance(options, dict):
        STREAM_OPTIONS.check(options)
