"""Bodies of the two generating routes to canonical requests.

Source: OpenAI API reference, "Create chat completion" and "Create completion"; from `top_k` on, what open servers add.
"""

from __future__ import annotations

from typing import Any

from portico.core.dialect import Exchange, RawRequest
from portico.core.errors import InvalidParameter
from portico.core.model import ServerLimits
from portico.core.request import (
    ChatPrompt,
    GenerationRequest,
    OutputOptions,
    Prompt,
    Sampling,
    Stopping,
    TextPrompt,
    TokensPrompt,
    keep_end,
)
from portico.dialects import wire
from portico.dialects.openai.chat import ChatExchange
from portico.dialects.openai.completions import CompletionExchange
from portico.dialects.openai.encode import Envelope
from portico.dialects.openai.ledgers import CHAT, COMPLETION, STREAM_OPTIONS
from portico.dialects.openai.messages import decode_messages
from portico.dialects.openai.schema import ChatFields, CompletionFields, SamplingFields

_MAX_CHAT_LOGPROBS = 20
_MAX_COMPLETION_LOGPROBS = 5
_MAX_PROMPTS = 1024
_COMPLETION_MAX_TOKENS = 16
_MAX_BIAS = 100
_MIN_SEED, _MAX_SEED = -(2**63), 2**63 - 1


def decode_chat(raw: RawRequest) -> Exchange:
    """A request to `POST /v1/chat/completions`.

    Raises:
        RequestError: the body is no such request, or asks for what this server does not do.
    """
    fields = wire.decode_object(raw.body)
    CHAT.check(fields)
    _check_stream_options(fields)
    chat = wire.convert(fields, ChatFields)
    _check_max_tokens("max_completion_tokens", chat.max_completion_tokens)
    logprobs = _chat_logprobs(chat, raw.limits)
    max_tokens = chat.max_tokens if chat.max_completion_tokens is None else chat.max_completion_tokens
    prompt = ChatPrompt(decode_messages(chat.messages), True, False, {}, None, False)
    output = _output(chat, _num_choices(chat.n, raw.limits), logprobs, None)
    request = _request(raw, chat, (prompt,), max_tokens, output)
    return ChatExchange(request, Envelope(f"chatcmpl-{raw.request_id}", int(raw.received_at)), _includes_usage(chat))


def decode_completion(raw: RawRequest) -> Exchange:
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
        wire.require_between("logprobs", logprobs, 0, min(_MAX_COMPLETION_LOGPROBS, raw.limits.max_logprobs))
    max_tokens = _COMPLETION_MAX_TOKENS if completion.max_tokens is None else completion.max_tokens
    # Ranking needs the log-probabilities of what was drawn, also where the answer shows none.
    drawn_logprobs = 0 if logprobs is None and best_of > num_choices else logprobs
    output = _output(completion, best_of, drawn_logprobs, _prompt_logprobs(completion, prompts))
    return CompletionExchange(
        request=_request(raw, completion, prompts, max_tokens, output),
        envelope=Envelope(f"cmpl-{raw.request_id}", int(raw.received_at)),
        includes_usage=_includes_usage(completion),
        num_choices=num_choices,
        shows_logprobs=logprobs is not None,
        echoes=completion.echo or False,
    )


def _request(
    raw: RawRequest,
    fields: SamplingFields,
    prompts: tuple[Prompt, ...],
    max_tokens: int | None,
    output: OutputOptions,
) -> GenerationRequest:
    if fields.truncate_prompt_tokens is not None:
        wire.require_between("truncate_prompt_tokens", fields.truncate_prompt_tokens, 1)
    return GenerationRequest(
        request_id=raw.request_id,
        model=fields.model or None,
        prompts=prompts,
        truncate=keep_end(fields.truncate_prompt_tokens),
        banned_words=(),
        sampling=_sampling(fields),
        stopping=_stopping(fields, max_tokens, raw.limits),
        output=output,
        stream=fields.stream or False,
    )


def _sampling(fields: SamplingFields) -> Sampling:
    sampling = Sampling(
        temperature=wire.or_default(fields.temperature, 1.0),
        top_k=max(wire.or_default(fields.top_k, 0), 0),
        top_p=wire.or_default(fields.top_p, 1.0),
        typical_p=1.0,
        min_p=wire.or_default(fields.min_p, 0.0),
        repetition_penalty=wire.or_default(fields.repetition_penalty, 1.0),
        presence_penalty=wire.or_default(fields.presence_penalty, 0.0),
        frequency_penalty=wire.or_default(fields.frequency_penalty, 0.0),
        frequency_penalty_is_relative=False,
        logit_bias=wire.token_biases("logit_bias", fields.logit_bias, _MAX_BIAS),
        allowed_token_ids=None,
        banned_sequences=(),
        watermark=None,
        seed=fields.seed,
    )
    wire.require_between("temperature", sampling.temperature, 0, 2)
    wire.require_between("top_p", sampling.top_p, 0, 1, without_low=True)
    wire.require_between("top_k", wire.or_default(fields.top_k, 0), -1)
    wire.require_between("min_p", sampling.min_p, 0, 1)
    wire.require_between("repetition_penalty", sampling.repetition_penalty, 0, without_low=True)
    wire.require_between("presence_penalty", sampling.presence_penalty, -2, 2)
    wire.require_between("frequency_penalty", sampling.frequency_penalty, -2, 2)
    if fields.seed is not None:
        wire.require_between("seed", fields.seed, _MIN_SEED, _MAX_SEED)
    return sampling


def _stopping(fields: SamplingFields, max_tokens: int | None, limits: ServerLimits) -> Stopping:
    _check_max_tokens("max_tokens", fields.max_tokens)
    min_tokens = wire.or_default(fields.min_tokens, 0)
    wire.require_between("min_tokens", min_tokens, 0, max_tokens)
    return Stopping(
        max_tokens=max_tokens,
        clamps_max_tokens=True,
        min_tokens=min_tokens,
        stop=wire.stop_strings("stop", fields.stop, limits.max_stop),
        stop_token_ids=wire.token_ids("stop_token_ids", fields.stop_token_ids),
        ignore_eos=fields.ignore_eos or False,
        include_stop=fields.include_stop_str_in_output or False,
    )


def _output(
    fields: SamplingFields, num_choices: int, logprobs: int | None, prompt_logprobs: int | None
) -> OutputOptions:
    return OutputOptions(
        num_choices=num_choices,
        token_details=logprobs is not None,
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
        prompt_details=False,
        processed_logprobs=False,
        skip_special_tokens=wire.or_default(fields.skip_special_tokens, True),
    )


def _chat_logprobs(chat: ChatFields, limits: ServerLimits) -> int | None:
    if chat.top_logprobs is not None:
        wire.require_between("top_logprobs", chat.top_logprobs, 0, min(_MAX_CHAT_LOGPROBS, limits.max_logprobs))
        if not chat.logprobs:
            raise InvalidParameter("top_logprobs", "`top_logprobs` needs `logprobs` to be true.")
    return chat.top_logprobs or 0 if chat.logprobs else None


def _prompt_logprobs(completion: CompletionFields, prompts: tuple[Prompt, ...]) -> int | None:
    """The echo of ids, of a cut prompt, and of any prompt with log-probabilities is made of its tokens."""
    if not completion.echo:
        return None
    is_known = completion.truncate_prompt_tokens is None and all(isinstance(each, TextPrompt) for each in prompts)
    if completion.logprobs is None and is_known:
        return None
    return completion.logprobs or 0


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


def _check_max_tokens(name: str, given: int | None) -> None:
    if given is not None:
        wire.require_between(name, given, 1)


def _check_stream_options(fields: dict[str, Any]) -> None:
    options = fields.get("stream_options")
    if options is None:
        return
    if not fields.get("stream"):
        raise InvalidParameter("stream_options", "`stream_options` needs `stream` to be true.")
    if isinstance(options, dict):
        STREAM_OPTIONS.check(options)


def _includes_usage(fields: SamplingFields) -> bool:
    return bool(fields.stream_options and fields.stream_options.include_usage)
