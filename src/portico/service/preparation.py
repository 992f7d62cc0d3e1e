"""Requests to token jobs: templates, tokenising, and the checks that need the model's limits."""

from __future__ import annotations

import secrets
from dataclasses import replace

from portico.core.engine import TokenJob
from portico.core.errors import InvalidParameter, PromptTooLong
from portico.core.model import ModelInfo
from portico.core.request import ChatPrompt, GenerationRequest, Prompt, Sampling, TextPrompt
from portico.text.chat_template import ChatTemplate
from portico.text.tokenizer import Tokenizer


class Preparation:
    """Turns requests into jobs for one model. Pure computation: it may run in a thread."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate | None) -> None:
        self._tokenizer = tokenizer
        self._template = template

    def prepare(self, request: GenerationRequest, model: ModelInfo) -> list[TokenJob]:
        """One job per prompt.

        Raises:
            InvalidParameter: an empty prompt, an id outside the vocabulary, or messages the template refuses.
            PromptTooLong: prompt and requested output do not fit the context.
        """
        self._check_vocabulary(request, model)
        return [self._prepare_job(request, model, index) for index in range(len(request.prompts))]

    def num_characters(self, request: GenerationRequest) -> int:
        """Characters to tokenise, to choose between doing it at once and in a thread."""
        return sum(_num_characters(prompt) for prompt in request.prompts)

    def _prepare_job(self, request: GenerationRequest, model: ModelInfo, index: int) -> TokenJob:
        token_ids = self._tokenize(request.prompts[index])
        if request.truncate is not None:
            token_ids = token_ids[-request.truncate :]
        if not token_ids:
            raise InvalidParameter("prompt", "The prompt is empty.")
        stopping, output = request.stopping, request.output
        max_tokens = self._max_tokens(request, model, len(token_ids))
        return TokenJob(
            job_id=f"{request.request_id}-{index}",
            token_ids=token_ids,
            num_sequences=output.num_choices,
            sampling=_seeded(request.sampling),
            max_tokens=max_tokens,
            min_tokens=min(stopping.min_tokens, max_tokens),
            stop_token_ids=self._stop_token_ids(request, model),
            logprobs=output.logprobs,
            prompt_logprobs=output.prompt_logprobs,
            processed_logprobs=output.processed_logprobs,
        )

    def _tokenize(self, prompt: Prompt) -> tuple[int, ...]:
        if isinstance(prompt, TextPrompt):
            return self._tokenizer.encode(prompt.text, prompt.add_special_tokens)
        if isinstance(prompt, ChatPrompt):
            if self._template is None:
                raise InvalidParameter("messages", "This model has no chat template, so it cannot take messages.")
            return self._tokenizer.encode(self._template.render(prompt.messages), add_special_tokens=False)
        return prompt.token_ids

    def _stop_token_ids(self, request: GenerationRequest, model: ModelInfo) -> frozenset[int]:
        """Stop strings that are control tokens stop as ids: their text may never be written out."""
        special = (self._tokenizer.find_special(stop) for stop in request.stopping.stop)
        eos = () if request.stopping.ignore_eos else model.eos_token_ids
        return frozenset((*eos, *request.stopping.stop_token_ids, *(each for each in special if each is not None)))

    def _max_tokens(self, request: GenerationRequest, model: ModelInfo, num_prompt_tokens: int) -> int:
        room = model.max_model_len - num_prompt_tokens
        wanted = request.stopping.max_tokens
        if room < 1:
            raise PromptTooLong(num_prompt_tokens, None, model.max_model_len)
        if wanted is None:
            return room
        if wanted > room and not request.stopping.clamps_max_tokens:
            raise PromptTooLong(num_prompt_tokens, wanted, model.max_model_len)
        return min(wanted, room)

    def _check_vocabulary(self, request: GenerationRequest, model: ModelInfo) -> None:
        fields = {
            "prompt": (token_id for prompt in request.prompts for token_id in _given_ids(prompt)),
            "logit_bias": (token_id for token_id, _ in request.sampling.logit_bias),
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


def _given_ids(prompt: Prompt) -> tuple[int, ...]:
    return () if isinstance(prompt, TextPrompt | ChatPrompt) else prompt.token_ids


def _num_characters(prompt: Prompt) -> int:
    if isinstance(prompt, TextPrompt):
        return len(prompt.text)
    if isinstance(prompt, ChatPrompt):
        return sum(len(message.content) for message in prompt.messages)
    return 0
