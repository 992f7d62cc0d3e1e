"""Numbers and texts that are too much are cut to what means the same, or refused before there is work with them."""

from __future__ import annotations

from typing import Any

import pytest

from portico.core.errors import PromptTooLong
from portico.core.model import ModelInfo
from portico.core.request import ChatPrompt, Message, TextPrompt, TokenizeRequest, Truncation
from portico.core.tokens import Spans
from portico.service.preparation import Preparation
from portico.text.tokenizer import Tokenizer
from tests.requests import make_request

_MODEL = ModelInfo("", "float32", "cpu", vocab_size=300, max_model_len=32, eos_token_ids=(), num_parameters=0)


class _Untouchable(Tokenizer):
    """Has no work done with it."""

    def __init__(self) -> None:
        super().__init__({}, drops_first_space=False)

    vocab_size = 300

    def encode(self, text: str, add_special_tokens: bool, own: Spans | None = None) -> tuple[int, ...]:
        raise AssertionError("the text was tokenised")

    spans = decode = _to_bytes = encode  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("field", "given", "taken"),
    [
        ("temperature", 1e308, 1e20),
        ("temperature", 1e-300, 1e-20),
        ("temperature", 0.7, 0.7),
        ("temperature", 0.0, 0.0),
        ("repetition_penalty", 1e308, 1e10),
        ("repetition_penalty", 1e-300, 1e-10),
        ("top_k", 10**400, 0),
        ("top_k", 300, 0),
        ("top_k", 299, 299),
    ],
)
def test_numbers_are_those_that_logits_can_take(tokenizer: Tokenizer, field: str, given: Any, taken: Any) -> None:
    request = make_request(sampling={field: given})
    (job,) = Preparation(tokenizer, None).prepare(request, _MODEL)
    assert getattr(job.sampling, field) == taken


def test_a_text_that_cannot_fit_is_not_tokenised() -> None:
    preparation = Preparation(_Untouchable(), None)
    text = "a" * (32 * 64 + 1)
    with pytest.raises(PromptTooLong, match=r"is 32 tokens, but the prompt has at least 33 tokens\."):
        preparation.prepare(make_request(text), _MODEL)
    with pytest.raises(PromptTooLong, match="has at least 33 tokens"):
        preparation.tokenize(TokenizeRequest(None, TextPrompt(text, add_special_tokens=True)), _MODEL)
    with pytest.raises(PromptTooLong, match="is 8 tokens, but the prompt has at least 9 tokens"):
        Preparation(_Untouchable(), None, max_prompt_tokens=8).prepare(make_request("a" * (8 * 64 + 1)), _MODEL)


@pytest.mark.parametrize("keeps_start", [False, True])
def test_a_truncated_text_is_as_if_all_of_it_had_been_read(tokenizer: Tokenizer, keeps_start: bool) -> None:
    text = "".join(chr(ord("a") + index % 26) for index in range(100_000))
    request = make_request(text, truncate=Truncation(10, keeps_start), stopping={"max_tokens": 1})
    (job,) = Preparation(tokenizer, None).prepare(request, _MODEL)
    kept = text[:10] if keeps_start else text[-10:]
    assert job.token_ids == tokenizer.encode(kept, add_special_tokens=False)


@pytest.mark.parametrize(
    ("extra", "arguments", "takes_long"),
    [({}, {}, False), ({}, {"thinking": True}, False), ({"name": "x"}, {}, True), ({}, {"text": "x"}, True)],
)
def test_what_can_be_of_any_size_is_prepared_in_a_thread(
    tokenizer: Tokenizer, extra: dict[str, Any], arguments: dict[str, Any], takes_long: bool
) -> None:
    chat = ChatPrompt((Message("user", "hello", extra),), True, False, arguments, None, False)
    assert Preparation(tokenizer, None).takes_long((chat,)) is takes_long


def test_long_words_to_ban_are_spelt_in_a_thread(tokenizer: Tokenizer) -> None:
    preparation = Preparation(tokenizer, None)
    prompts = (TextPrompt("hello", add_special_tokens=False),)
    assert not preparation.takes_long(prompts, banned_words=("x" * 1000,) * 8)
    assert preparation.takes_long(prompts, banned_words=("x" * 1000,) * 9)
