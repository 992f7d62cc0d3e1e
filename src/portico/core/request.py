"""What a client asks for, in no dialect's words.

The types have no defaults on purpose: what an absent field means is the dialect's to say, and forgetting one is a
type error there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from portico.core.grammar import Grammar


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    `extra` holds further keys that a chat template may read, such as `name` or `tool_calls`.
    """

    role: str
    content: str
    extra: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """Text for the tokenizer, without a template; `add_special_tokens` adds what the tokenizer adds by itself."""

    text: str
    add_special_tokens: bool


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A conversation for the checkpoint's chat template.

    Attributes:
        messages: the turns so far.
        add_generation_prompt: the prompt ends where the assistant's turn begins.
        continue_final_message: the prompt ends with the last message's content, which the answer continues.
        template_arguments: further variables that the template may read.
        template: the source of a template of the client's own, instead of the checkpoint's.
        add_special_tokens: the tokenizer adds its own to what the template has written.
        tools: descriptions of functions that the model may ask for, each an object with `type` and `function`, which
            is what chat templates read.
    """

    messages: tuple[Message, ...]
    add_generation_prompt: bool
    continue_final_message: bool
    template_arguments: Mapping[str, Any]
    template: str | None
    add_special_tokens: bool
    tools: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class TokensPrompt:
    """A prompt that is token ids already."""

    token_ids: tuple[int, ...]


Prompt = TextPrompt | ChatPrompt | TokensPrompt


@dataclass(frozen=True, slots=True)
class Truncation:
    """How much of a prompt is kept: its last tokens, or its first ones with `keeps_start`.

    `num_tokens` None is as many as leave room for one token of output.
    """

    num_tokens: int | None
    keeps_start: bool


def keep_end(num_tokens: int | None) -> Truncation | None:
    """The usual truncation, to the last tokens; None is none."""
    return None if num_tokens is None else Truncation(num_tokens, keeps_start=False)


@dataclass(frozen=True, slots=True)
class Watermark:
    """Soft watermark of Kirchenbauer et al. (arXiv 2301.10226) with one token of left context.

    `gamma` is the share of the vocabulary that is green, `delta` what is added to green logits, and `hash_key` times
    the previous token id seeds the generator that picks the green ids.
    """

    gamma: float
    delta: float
    hash_key: int


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn.

    Steps run in this order: logit bias, grammar, allowed tokens and banned sequences, watermark, repetition, presence
    and frequency penalties, temperature, top_k, top_p, typical_p, min_p, draw.

    Attributes:
        temperature: 0 is greedy; logits are divided by it otherwise.
        top_k: keep the k most likely tokens; 0 is off.
        top_p: nucleus mass in (0, 1]; 1 is off (Holtzman et al., arXiv 1904.09751).
        typical_p: locally typical mass in (0, 1]; 1 is off (Meister et al., arXiv 2202.00666).
        min_p: keep tokens at least this fraction as likely as the best; 0 is off.
        repetition_penalty: CTRL's, over prompt and output; 1 is off (Keskar et al., arXiv 1909.05858).
        presence_penalty: subtracted once from each token that the output holds; 0 is off.
        frequency_penalty: subtracted per occurrence in the output; 0 is off.
        frequency_penalty_is_relative: the penalty counts prompt and output and is divided by their length (TGI).
        logit_bias: pairs of token id and what is added to its logit.
        allowed_token_ids: only these are drawn; None is all of them.
        banned_sequences: token ids that the output never holds in this order; the last one is not drawn where the
            output ends with those before it. Where nothing else is left to draw, a ban gives way.
        grammar: what the output must be; it ends where the grammar does, whatever else would let it go on. None is
            free text.
        watermark: the watermark, or None.
        seed: choice i draws from a generator seeded with seed + i; None takes a random seed.
    """

    temperature: float
    top_k: int
    top_p: float
    typical_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    frequency_penalty_is_relative: bool
    logit_bias: tuple[tuple[int, float], ...]
    allowed_token_ids: tuple[int, ...] | None
    banned_sequences: tuple[tuple[int, ...], ...]
    grammar: Grammar | None
    watermark: Watermark | None
    seed: int | None

    @property
    def is_greedy(self) -> bool:
        """Whether the most likely token is taken without drawing."""
        return self.temperature == 0


@dataclass(frozen=True, slots=True)
class Stopping:
    """When a choice ends.

    Attributes:
        max_tokens: at most so many output tokens; None is up to the end of the context, 0 only evaluates the prompt.
        clamps_max_tokens: a `max_tokens` beyond the context is cut to it instead of being refused.
        min_room: the context must leave room for so many tokens, also where more are cut to it.
        min_tokens: no stop token or stop string ends the choice before so many tokens.
        stop: strings that end the choice.
        stop_token_ids: token ids that end the choice, besides the end-of-sequence tokens of the model.
        ignore_eos: the end-of-sequence tokens of the model do not end the choice.
        include_stop: the stop string stays at the end of the text.
        stop_at_token_end: a stop string counts only where a token ends with it, or with it and a line feed (TGI).
    """

    max_tokens: int | None
    clamps_max_tokens: bool
    min_room: int
    min_tokens: int
    stop: tuple[str, ...]
    stop_token_ids: tuple[int, ...]
    ignore_eos: bool
    include_stop: bool
    stop_at_token_end: bool


@dataclass(frozen=True, slots=True)
class Markup:
    """What is told apart in the text that a model writes.

    Attributes:
        tool_names: tools that may be called; without any, text that looks like a call is text.
        has_parallel_calls: several calls may come; else a choice ends with its first one.
        has_reasoning: reasoning before the answer is not part of its text.
        is_forced_call: the whole text is one call, `{"name": ..., "arguments": {...}}`, as a grammar makes sure.
    """

    tool_names: tuple[str, ...]
    has_parallel_calls: bool
    has_reasoning: bool
    is_forced_call: bool


AS_TEXT = Markup((), has_parallel_calls=False, has_reasoning=False, is_forced_call=False)


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What the events of the answer carry.

    Attributes:
        num_choices: choices per prompt.
        token_details: `Delta.tokens` is filled; without it only text and token ids are given.
        logprobs: log-probability of each output token and of so many most likely ones; None is none at all.
        prompt_logprobs: the same for prompt tokens.
        prompt_details: `Prefilled.tokens` is filled, also without log-probabilities.
        processed_logprobs: log-probabilities of the distribution that was drawn from, instead of the model's own.
        skip_special_tokens: special tokens have no text.
        markup: what is told apart in the text. Most wires have a place for text alone, so nothing is the default.
    """

    num_choices: int
    token_details: bool
    logprobs: int | None
    prompt_logprobs: int | None
    prompt_details: bool
    processed_logprobs: bool
    skip_special_tokens: bool
    markup: Markup = AS_TEXT

    @property
    def describes_prompts(self) -> bool:
        """Whether the events may have something to say about each token of the prompts."""
        return self.prompt_details or self.prompt_logprobs is not None


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A complete request; `len(prompts) * output.num_choices` choices answer it.

    The choice `i` of prompt `p` has the index `p * num_choices + i`. `model` None is whatever is served. Requests share
    what was evaluated of prompts that begin alike only with the same `cache_salt`. `truncate` cuts each prompt, and
    `banned_words` are texts that the output does not hold, for the tokenizer to spell. By `client_id`, the client's own
    name for it, a request can be stopped; `timeout` seconds after it came it is given up.
    """

    request_id: str
    client_id: str | None
    timeout: float | None
    model: str | None
    prompts: tuple[Prompt, ...]
    cache_salt: str
    truncate: Truncation | None
    banned_words: tuple[str, ...]
    sampling: Sampling
    stopping: Stopping
    output: OutputOptions
    stream: bool

    @property
    def num_choices(self) -> int:
        """Choices of the whole request, all prompts together."""
        return len(self.prompts) * self.output.num_choices


@dataclass(frozen=True, slots=True)
class TokenizeRequest:
    """A prompt to be shown as tokens."""

    model: str | None
    prompt: TextPrompt | ChatPrompt


@dataclass(frozen=True, slots=True)
class DetokenizeRequest:
    """Token ids to be shown as text."""

    model: str | None
    token_ids: tuple[int, ...]
    skip_special_tokens: bool
