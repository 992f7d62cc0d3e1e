from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portico.core.errors import (
    EngineFailure,
    InvalidParameter,
    NotReady,
    Overloaded,
    PromptTooLong,
    RequestError,
    UnknownModel,
)
from portico.core.events import Delta, Event, Finished, FinishReason, Prefilled, Result, Started, fold
from portico.core.request import (
    ChatPrompt,
    DetokenizeRequest,
    GenerationRequest,
    Message,
    TextPrompt,
    TokenizeRequest,
    TokensPrompt,
    Truncation,
    keep_end,
)
from portico.service.generation import GenerationService
from portico.text.tokenizer import Tokenizer
from tests.requests import make_request
from tests.service.conftest import Bench


async def collect(service: GenerationService, request: GenerationRequest) -> list[Event]:
    async with aclosing(service.generate(request)) as batches:
        return [event async for batch in batches for event in batch]


async def answer(service: GenerationService, request: GenerationRequest) -> Result:
    return fold(await collect(service, request))


async def test_events_come_in_order(bench: Bench) -> None:
    events = await collect(await bench.start("hello"), make_request("prompt"))
    kinds = [type(event) for event in events]
    assert kinds[:2] == [Started, Prefilled]
    assert set(kinds[2:-1]) == {Delta}
    assert kinds[-1] is Finished
    assert events[0] == Started("model", (6,))


async def test_the_end_of_sequence_token_counts_but_is_not_shown(bench: Bench) -> None:
    result = await answer(await bench.start("hello"), make_request(stopping={"max_tokens": 20}))
    (choice,) = result.choices
    assert (choice.text, choice.reason, choice.stop) == ("hello", FinishReason.STOP, None)
    assert result.usage.num_output_tokens == 6


async def test_length_ends_a_choice(bench: Bench) -> None:
    result = await answer(await bench.start("hello world"), make_request(stopping={"max_tokens": 4}))
    assert (result.choices[0].text, result.choices[0].reason) == ("hell", FinishReason.LENGTH)


@pytest.mark.parametrize(
    ("stop", "included", "text"), [(("wor",), False, "hello "), (("wor",), True, "hello wor"), (("zzz",), False, None)]
)
async def test_stop_strings(bench: Bench, stop: tuple[str, ...], included: bool, text: str | None) -> None:
    service = await bench.start("hello world")
    request = make_request(stopping={"stop": stop, "include_stop": included, "max_tokens": 50})
    (choice,) = (await answer(service, request)).choices
    assert choice.text == (text or "hello world")
    assert choice.stop == (stop[0] if text else None)
    if text:
        assert len(choice.token_ids) == len("hello wor")


async def test_a_stop_string_frees_the_engine_for_that_choice_only(bench: Bench) -> None:
    service = await bench.start("ab" * 20, token_delay=0.001)
    request = make_request(stopping={"stop": ("ba",), "max_tokens": 30}, output={"num_choices": 3})
    result = await answer(service, request)
    assert [choice.text for choice in result.choices] == ["a"] * 3
    assert bench.engine.stats().num_running == 0


async def test_a_stop_string_that_is_a_special_token_stops_as_a_token(bench: Bench) -> None:
    service = await bench.start("hi<|im_start|>leak")
    request = make_request(stopping={"stop": ("<|im_start|>",), "max_tokens": 50})
    (choice,) = (await answer(service, request)).choices
    assert (choice.text, choice.stop, len(choice.token_ids)) == ("hi", "<|im_start|>", 3)


async def test_stop_token_ids_are_reported(bench: Bench) -> None:
    service = await bench.start("hello")
    (token_id,) = bench.tokenizer.encode("l", add_special_tokens=False)
    (choice,) = (await answer(service, make_request(stopping={"stop_token_ids": (token_id,)}))).choices
    assert (choice.text, choice.stop) == ("he", token_id)


async def test_min_tokens_puts_off_stop_strings(bench: Bench) -> None:
    service = await bench.start("a.b.c.d.")
    request = make_request(stopping={"stop": (".",), "min_tokens": 4, "max_tokens": 20})
    assert (await answer(service, request)).choices[0].text == "a.b.c"


async def test_characters_that_span_tokens_come_whole(bench: Bench) -> None:
    service = await bench.start("养生🙂")
    events = await collect(service, make_request(stopping={"max_tokens": 50}))
    texts = [event.text for event in events if isinstance(event, Delta)]
    assert "".join(texts) == "养生🙂"
    assert "\ufffd" not in "".join(texts)


async def test_a_character_cut_by_the_limit_is_replaced(bench: Bench) -> None:
    service = await bench.start("养生")
    assert (await answer(service, make_request(stopping={"max_tokens": 4}))).choices[0].text == "养\ufffd"


async def test_several_prompts_and_choices_are_numbered(bench: Bench) -> None:
    service = await bench.start("hello")
    result = await answer(service, make_request("a", "bcd", output={"num_choices": 2}))
    assert [choice.index for choice in result.choices] == [0, 1, 2, 3]
    assert result.usage.num_prompt_tokens == 4


async def test_token_details(bench: Bench) -> None:
    service = await bench.start("é!")
    request = make_request("ab", output={"token_details": True, "logprobs": 2, "prompt_logprobs": 0})
    result = await answer(service, request)
    tokens = result.choices[0].tokens
    assert [token.text for token in tokens] == ["", "é", "!", "<|im_end|>"]
    assert [token.raw for token in tokens] == [b"\xc3", b"\xa9", b"!", b"<|im_end|>"]
    assert [token.special for token in tokens] == [False, False, False, True]
    assert all(token.logprob is not None and len(token.alternatives) == 2 for token in tokens)
    (prompt,) = result.prompts
    assert [token.text for token in prompt] == ["a", "b"]
    assert prompt[0].logprob is None
    assert prompt[1].logprob is not None


async def test_conversations_go_through_the_template(bench: Bench) -> None:
    request = make_request()
    request = replace(request, prompts=(ChatPrompt((Message("user", "hi", {}),), True, False, {}, None, False),))
    events = await collect(await bench.start(), request)
    assert events[0] == Started("model", (len("user\nhi") + 2,))


async def test_the_tokens_of_a_prompt_need_no_logprobs(bench: Bench) -> None:
    result = await answer(await bench.start(), make_request("ab", output={"prompt_details": True}))
    assert [(token.text, token.logprob) for token in result.prompts[0]] == [("a", None), ("b", None)]


async def test_without_output_the_prompt_may_fill_the_context(bench: Bench) -> None:
    service = await bench.start(max_model_len=4)
    result = await answer(service, make_request("abcd", stopping={"max_tokens": 0}))
    assert [(choice.text, choice.reason) for choice in result.choices] == [("", FinishReason.LENGTH)]
    with pytest.raises(PromptTooLong):
        await collect(service, make_request("abcd", stopping={"max_tokens": 1}))


async def test_banned_words_are_spelt_at_the_start_and_after_a_space(bench: Bench) -> None:
    await bench.start()
    request = make_request(banned_words=("ab",))
    (job,) = bench.preparation.prepare(request, bench.engine.info)
    spell = bench.tokenizer.encode
    assert job.sampling.banned_sequences == (spell("ab", False), spell(" ab", False))
    result = await answer(await bench.start("ab ab"), make_request(banned_words=("ab",)))
    assert "ab" not in result.choices[0].text


async def test_only_allowed_tokens_are_written(bench: Bench) -> None:
    allowed = bench.tokenizer.encode("x", False)
    service = await bench.start("hello")
    result = await answer(service, make_request(sampling={"allowed_token_ids": allowed}))
    assert result.choices[0].text == "x" * 8
    for restricted in (
        make_request(sampling={"allowed_token_ids": ()}),
        make_request(sampling={"allowed_token_ids": allowed}, banned_words=("x",)),
        make_request(sampling={"allowed_token_ids": allowed}, stopping={"stop_token_ids": allowed, "min_tokens": 1}),
    ):
        with pytest.raises(InvalidParameter, match="leave no token"):
            await collect(service, restricted)


@pytest.mark.parametrize(
    ("truncation", "kept"),
    [(Truncation(3, keeps_start=True), 3), (Truncation(99, keeps_start=False), 10), (Truncation(None, False), 7)],
)
async def test_truncation_from_either_side(bench: Bench, truncation: Truncation, kept: int) -> None:
    service = await bench.start(max_model_len=8 if truncation.num_tokens is None else 512)
    request = make_request("0123456789", truncate=truncation, stopping={"max_tokens": None})
    result = await answer(service, replace(request, output=replace(request.output, prompt_details=True)))
    text = "".join(token.text for token in result.prompts[0])
    assert text == ("0123456789"[:kept] if truncation.keeps_start else "0123456789"[10 - kept :])


async def test_conversion_needs_no_generation(bench: Bench) -> None:
    await bench.start(max_model_len=2)
    tokenized = await bench.converter.tokenize(TokenizeRequest(None, TextPrompt("né<|im_end|>", True)))
    assert [(each.text, each.start, each.end) for each in tokenized.tokens] == [
        ("n", 0, 1),
        ("é", 1, 3),
        ("é", 1, 3),
        ("<|im_end|>", 3, 13),
    ]
    assert (tokenized.text, tokenized.max_model_len) == ("né<|im_end|>", 2)
    ids = tuple(each.id for each in tokenized.tokens)
    assert await bench.converter.detokenize(DetokenizeRequest("alias", ids, False)) == "né<|im_end|>"
    assert await bench.converter.detokenize(DetokenizeRequest(None, ids, True)) == "né"
    for request in (DetokenizeRequest("other", ids, False), DetokenizeRequest(None, (99999,), False)):
        with pytest.raises(RequestError):
            await bench.converter.detokenize(request)
    with pytest.raises(UnknownModel):
        await bench.converter.tokenize(TokenizeRequest("other", TextPrompt("x", True)))


async def test_truncation_keeps_the_end_of_the_prompt(bench: Bench) -> None:
    events = await collect(await bench.start(), make_request("0123456789", truncate=keep_end(4)))
    assert events[0] == Started("model", (4,))


async def test_seeds_are_reported_per_choice(bench: Bench) -> None:
    service = await bench.start()
    result = await answer(service, make_request(sampling={"seed": 7, "temperature": 1.0}, output={"num_choices": 2}))
    assert [choice.seed for choice in result.choices] == [7, 8]


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (make_request("x", model="other"), UnknownModel, "The model `other` does not exist"),
        (replace(make_request(), prompts=(TokensPrompt(()),)), InvalidParameter, "empty"),
        (replace(make_request(), prompts=(TokensPrompt((5, 99999)),)), InvalidParameter, "99999 .* out of vocabulary"),
        (make_request(sampling={"logit_bias": ((-1, 1.0),)}), InvalidParameter, "logit_bias"),
        (make_request(stopping={"stop_token_ids": (10**9,)}), InvalidParameter, "stop_token_ids"),
        (make_request("x" * 512), PromptTooLong, "512 tokens"),
        (make_request("x" * 500, stopping={"max_tokens": 13}), PromptTooLong, "13 output tokens"),
    ],
)
async def test_what_cannot_be_served_is_refused_before_it_starts(
    bench: Bench, request_: GenerationRequest, error: type[Exception], message: str
) -> None:
    service = await bench.start()
    with pytest.raises(error, match=message):
        await collect(service, request_)


async def test_too_long_outputs_are_clamped_where_asked(bench: Bench) -> None:
    service = await bench.start("y" * 100)
    request = make_request("x" * 500, stopping={"max_tokens": 100, "clamps_max_tokens": True})
    assert (await answer(service, request)).usage.num_output_tokens == 12
    request = make_request("x" * 500, stopping={"max_tokens": None})
    assert (await answer(service, request)).usage.num_output_tokens == 12


async def test_a_full_queue_refuses(bench: Bench) -> None:
    service = await bench.start("hello" * 50, max_num_seqs=1, max_waiting=1, token_delay=0.01)
    request = make_request(stopping={"max_tokens": 50})
    tasks = [asyncio.ensure_future(answer(service, replace(request, request_id=str(index)))) for index in range(3)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, Overloaded) for result in results] == [False, False, True]


async def test_closing_aborts(bench: Bench) -> None:
    service = await bench.start("hello" * 50, token_delay=0.01)
    batches = service.generate(make_request(stopping={"max_tokens": 100}, output={"num_choices": 2}))
    async for batch in batches:
        if any(isinstance(event, Delta) for event in batch):
            break
    await batches.aclose()
    await asyncio.sleep(0.05)
    assert bench.engine.stats().num_running == 0
    assert (await answer(service, make_request())).choices


async def test_an_engine_failure_is_raised_after_what_was_given(bench: Bench) -> None:
    service = await bench.start("hello", fail_after=2)
    events: list[Event] = []

    async def read() -> None:
        async for batch in service.generate(make_request("a", "b")):
            events.extend(batch)

    with pytest.raises(EngineFailure):
        await read()
    assert isinstance(events[0], Started)
    assert not any(isinstance(event, Finished) for event in events)


async def test_a_closed_engine_takes_nothing(bench: Bench) -> None:
    service = await bench.start()
    await bench.engine.close()
    with pytest.raises(NotReady):
        await collect(service, make_request())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1, max_size=30), stop=st.text(min_size=1, max_size=3), max_tokens=st.integers(1, 40))
def test_text_never_depends_on_how_it_is_cut_into_tokens(
    tokenizer: Tokenizer, text: str, stop: str, max_tokens: int
) -> None:
    async def run() -> str:
        async with AsyncExitStack() as stack:
            service = await Bench(tokenizer, stack).start(text, tokens_per_step=3)
            request = make_request(stopping={"stop": (stop,), "max_tokens": max_tokens})
            return (await answer(service, request)).choices[0].text

    written = text.encode()[:max_tokens].decode("utf-8", "replace")
    assert asyncio.run(run()) == written.split(stop)[0]


async def test_an_answer_that_is_given_up_at_its_start_frees_the_engine(bench: Bench) -> None:
    service = await bench.start("hello" * 50, token_delay=0.01)
    request = make_request("a", "b", stopping={"max_tokens": 50})
    events = service.generate(request)
    await anext(events)
    assert bench.engine.stats().num_running + bench.engine.stats().num_waiting == 2
    await events.aclose()
    assert bench.engine.stats().num_running + bench.engine.stats().num_waiting == 0
