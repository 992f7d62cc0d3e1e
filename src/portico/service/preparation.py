"""Requests to token jobs: templates, tokenising, and the checks that need the model's limits."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

from portico.core.engine import TokenJob
from portico.core.errors import InvalidParameter, PromptTooLong, UnsupportedParameter
from portico.core.grammar import Grammar
from portico.core.model import ModelInfo
from portico.core.request import (
    ChatPrompt,
    GenerationRequest,
    Prompt,
    Sampling,
    TextPrompt,
    TokenizeRequest,
    TokensPrompt,
    Truncation,
)
from portico.core.tokens import Spans, Tokenized
from portico.text.bounded_rendering import render_bounded
from portico.text.chat_template import ChatTemplate
from portico.text.grammar import prepare_grammar
from portico.text.literal_content import LiteralContent
from portico.text.template_text import own_parts, without_marks
from portico.text.tokenizer import Tokenizer
from portico.text.writable import check_writable

# Longer texts are tokenised in a thread; for shorter ones the hand-over costs more.
_THREAD_CHARACTERS = 16_384
# A text with more characters than this for each token of the context is never tokenised: it would not fit.
_MAX_CHARACTERS_PER_TOKEN = 64
# What single-precision logits can be divided by, one after the other, without an overflow; beyond it nothing changes.
_TEMPERATURES = (1e-20, 1e20)
_REPETITION_PENALTIES = (1e-10, 1e10)


class Preparation:
    """Turns requests into jobs for one model. Pure computation: it may run in a thread.

    The template marks what it writes where content is literal.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        max_prompt_tokens: int | None = None,
        literal: LiteralContent = LiteralContent.NONE,
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._max_prompt_tokens = max_prompt_tokens
        self._literal = literal

    def prepare(self, request: GenerationRequest, model: ModelInfo) -> list[TokenJob]:
        """One job per prompt.

        Raises:
            InvalidParameter: an empty prompt, an id outside the vocabulary, messages the template refuses, or a
                grammar that cannot be used.
            UnsupportedParameter: a grammar for an engine that takes none.
            PromptTooLong: prompt and requested output do not fit the context.
        """
        self._check_vocabulary(request, model)
        request = self._with_grammar(request, model)
        return [self._prepare_job(request, model, index) for index in range(len(request.prompts))]

    def takes_long(
        self, prompts: Sequence[Prompt], grammar: Grammar | None = None, banned_words: Sequence[str] = ()
    ) -> bool:
        """Whether prompts are better tokenised, and a grammar better checked, in a thread than at once.

        The tokenizer and the compiler of grammars release the GIL, and a client's own template runs in another process.
        Tools can be of any length, and there can be many words to ban.
        """
        if grammar is not None:
            return True
        chats = [prompt for prompt in prompts if isinstance(prompt, ChatPrompt)]
        if any(chat.template is not None or chat.tools or _has_more_than_text(chat) for chat in chats):
            return True
        # Each word is spelt in two ways.
        return sum(map(_num_characters, prompts)) + 2 * sum(map(len, banned_words)) > _THREAD_CHARACTERS

    def tokenize(self, request: TokenizeRequest, model: ModelInfo) -> Tokenized:
        """The prompt's tokens, also more than fit the context.

        Raises:
            InvalidParameter: messages that the template refuses.
            PromptTooLong: a text that the context could not hold several times over.
        """
        text, add_special_tokens = self._write(request.prompt)
        _check_size(text, model.max_model_len)
        spans = self._tokenizer.spans(without_marks(text), add_special_tokens, self._own_parts(request.prompt, text))
        return Tokenized(without_marks(text), spans, model.max_model_len)

    def _with_grammar(self, request: GenerationRequest, model: ModelInfo) -> GenerationRequest:
        """With the grammar as engines take it, if there is one."""
        grammar = request.sampling.grammar
        if grammar is None:
            return request
        if not model.takes_grammars:
            raise UnsupportedParameter(
                grammar.name, f"`{grammar.name}` is not supported by the engine that is running."
            )
        # The engine will ask for it, when there is no time to make it.
        vocabulary = self._tokenizer.vocabulary
        prepared = prepare_grammar(grammar)
        allowed = request.sampling.allowed_token_ids
        if allowed is not None or not self._tokenizer.writes_everything:
            drawn = range(len(vocabulary.tokens)) if allowed is None else allowed
            texts = (self._tokenizer.raw(each) for each in drawn if each not in vocabulary.special_ids)
            check_writable(replace(prepared, kind=grammar.kind), texts)
        return replace(request, sampling=replace(request.sampling, grammar=prepared))

    def _prepare_job(self, request: GenerationRequest, model: ModelInfo, index: int) -> TokenJob:
        token_ids = self._tokenize(request.prompts[index], request.truncate, model)
        if request.truncate is not None:
            token_ids = _truncate(token_ids, request.truncate, model.max_model_len)
        if not token_ids:
            raise InvalidParameter("prompt", "The prompt is empty.")
        if model.reads_prompts and (unknown := max(token_ids)) >= model.vocab_size:
            text = self._tokenizer.raw(unknown).decode("utf-8", "replace")
            raise InvalidParameter("prompt", f"The prompt has the token {text} ({unknown}), which the model has not.")
        if self._max_prompt_tokens is not None and len(token_ids) > self._max_prompt_tokens:
            raise PromptTooLong(len(token_ids), None, self._max_prompt_tokens)
        stopping, output = request.stopping, request.output
        max_tokens = self._max_tokens(request, model, len(token_ids))
        job = TokenJob(
            job_id=f"{request.request_id}-{index}",
            cache_salt=request.cache_salt,
            token_ids=token_ids,
            num_sequences=output.num_choices,
            sampling=self._restricted(
                _bounded(_seeded(request.sampling), model.vocab_size), request.banned_words, model.vocab_size
            ),
            max_tokens=max_tokens,
            min_tokens=min(stopping.min_tokens, max_tokens),
            stop_token_ids=self._stop_token_ids(request, model),
            logprobs=output.logprobs,
            prompt_logprobs=output.prompt_logprobs,
            processed_logprobs=output.processed_logprobs,
        )
        _check_choice(job, model.vocab_size)
        return job

    def _tokenize(self, prompt: Prompt, truncation: Truncation | None, model: ModelInfo) -> tuple[int, ...]:
        if isinstance(prompt, TokensPrompt):
            return prompt.token_ids
        text, add_special_tokens = self._write(prompt)
        if truncation is not None:
            text = _cut_text(text, truncation, model.max_model_len)
        _check_size(text, min(self._max_prompt_tokens or model.max_model_len, model.max_model_len))
        return self._tokenizer.encode(without_marks(text), add_special_tokens, self._own_parts(prompt, text))

    def _write(self, prompt: TextPrompt | ChatPrompt) -> tuple[str, bool]:
        """The text for the tokenizer, and whether it adds special tokens."""
        if isinstance(prompt, TextPrompt):
            return prompt.text, prompt.add_special_tokens
        if prompt.template is not None:
            special_tokens = {} if self._template is None else self._template.special_tokens
            marks_own = self._literal is not LiteralContent.NONE
            return render_bounded(prompt, special_tokens, marks_own), prompt.add_special_tokens
        if self._template is None:
            raise InvalidParameter("messages", "This model has no chat template, so it cannot take messages.")
        return self._template.render(prompt), prompt.add_special_tokens

    def _own_parts(self, prompt: TextPrompt | ChatPrompt, text: str) -> Spans | None:
        """Where alone the tokenizer may find markers in what was written of a prompt; None is everywhere."""
        is_literal = self._literal is LiteralContent.ALL or (
            self._literal is LiteralContent.CHAT and isinstance(prompt, ChatPrompt)
        )
        return own_parts(text) if is_literal else None

    def _restricted(self, sampling: Sampling, banned_words: tuple[str, ...], vocab_size: int) -> Sampling:
        """With the spellings of the banned words: at the beginning of a text, and after a space."""
        if not banned_words:
            return sampling
        texts = [spelling for word in banned_words for spelling in (word.lstrip(), " " + word.lstrip())]
        spellings = (self._tokenizer.encode(text, add_special_tokens=False) for text in texts)
        # Of what the model has no token for it writes nothing.
        own = (each for each in spellings if each and max(each) < vocab_size)
        found = dict.fromkeys((*sampling.banned_sequences, *own))
        return replace(sampling, banned_sequences=tuple(found))

    def _stop_token_ids(self, request: GenerationRequest, model: ModelInfo) -> frozenset[int]:
        """Stop strings that are control tokens stop as ids: their text may never be written out."""
        special = (self._tokenizer.find_special(stop) for stop in request.stopping.stop)
        eos = () if request.stopping.ignore_eos else model.eos_token_ids
        return frozenset((*eos, *request.stopping.stop_token_ids, *(each for each in special if each is not None)))

    def _max_tokens(self, request: GenerationRequest, model: ModelInfo, num_prompt_tokens: int) -> int:
        room = model.max_model_len - num_prompt_tokens
        wanted = request.stopping.max_tokens
        if room < (0 if wanted == 0 else 1):
            raise PromptTooLong(num_prompt_tokens, None, model.max_model_len)
        if wanted is None:
            return room
        needed = min(wanted, request.stopping.min_room) if request.stopping.clamps_max_tokens else wanted
        if needed > room:
            raise PromptTooLong(num_prompt_tokens, needed, model.max_model_len)
        return min(wanted, room)

    def _check_vocabulary(self, request: GenerationRequest, model: ModelInfo) -> None:
        fields = {
            "prompt": (token_id for prompt in request.prompts for token_id in _given_ids(prompt)),
            "logit_bias": (token_id for token_id, _ in request.sampling.logit_bias),
            "allowed_token_ids": iter(request.sampling.allowed_token_ids or ()),
            "stop_token_ids": iter(request.stopping.stop_token_ids),
        }
        for name, token_ids in fields.items():
            for token_id in token_ids:
                if not 0 <= token_id < model.vocab_size:
                    raise InvalidParameter(
                        name, f"Token id {token_id} in `{name}` is out of vocabulary (size {model.vocab_size})."
                    )


def _seeded(sampling: Sampling) -> Sampling:
    """With a seed of our own where none is given, so that it can be reported however the choice ends."""
    return sampling if sampling.seed is not None else replace(sampling, seed=secrets.randbits(32))


def _bounded(sampling: Sampling, vocab_size: int) -> Sampling:
    """With numbers that the model's arithmetic can take, where greater or smaller ones would draw the same."""
    temperature = sampling.temperature and _clamp(sampling.temperature, *_TEMPERATURES)
    penalty = _clamp(sampling.repetition_penalty, *_REPETITION_PENALTIES)
    top_k = sampling.top_k if sampling.top_k < vocab_size else 0
    if (temperature, penalty, top_k) == (sampling.temperature, sampling.repetition_penalty, sampling.top_k):
        return sampling
    return replace(sampling, temperature=temperature, repetition_penalty=penalty, top_k=top_k)


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _check_size(text: str, max_tokens: int) -> None:
    """Refuses a text that cannot fit before the work of tokenising it is done.

    Raises:
        PromptTooLong: it has at least so many tokens as it says.
    """
    if len(text) > max_tokens * _MAX_CHARACTERS_PER_TOKEN:
        raise PromptTooLong(-(-len(text) // _MAX_CHARACTERS_PER_TOKEN), None, max_tokens, is_estimate=True)


def _cut_text(text: str, truncation: Truncation, max_model_len: int) -> str:
    """As much of a text as can matter to a truncated prompt, and a multiple of it."""
    num_tokens = max_model_len if truncation.num_tokens is None else min(truncation.num_tokens, max_model_len)
    size = num_tokens * _MAX_CHARACTERS_PER_TOKEN
    return text if len(text) <= size else text[:size] if truncation.keeps_start else text[-size:]


def _has_more_than_text(chat: ChatPrompt) -> bool:
    """Whether the template gets things of any size beside the content of messages."""
    arguments = chat.template_arguments.values()
    return any(message.extra for message in chat.messages) or any(
        isinstance(value, str | list | dict) for value in arguments
    )


def _check_choice(job: TokenJob, vocab_size: int) -> None:
    """Refuses what leaves no token for the first place; later on a ban gives way."""
    allowed, banned = job.sampling.allowed_token_ids, job.sampling.banned_sequences
    if allowed is None and not banned:
        return
    forbidden = {each[0] for each in banned if len(each) == 1}
    if job.min_tokens:
        forbidden |= job.stop_token_ids
    if forbidden.issuperset(range(vocab_size) if allowed is None else allowed):
        raise InvalidParameter(
            "allowed_token_ids", "The allowed tokens, the banned words and `min_tokens` leave no token to draw."
        )


def _truncate(token_ids: tuple[int, ...], truncation: Truncation, max_model_len: int) -> tuple[int, ...]:
    num_tokens = max_model_len - 1 if truncation.num_tokens is None else truncation.num_tokens
    return token_ids[:num_tokens] if truncation.keeps_start else token_ids[max(len(token_ids) - num_tokens, 0) :]


def _given_ids(prompt: Prompt) -> tuple[int, ...]:
    return () if isinstance(prompt, TextPrompt | ChatPrompt) else prompt.token_ids


def _num_characters(prompt: Prompt) -> int:
    if isinstance(prompt, TextPrompt):
        return len(prompt.text)
    if isinstance(prompt, ChatPrompt):
        return sum(len(message.content) for message in prompt.messages)
    return 0
