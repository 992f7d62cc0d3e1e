"""Reasoning and calls of tools, told apart in what the engine writes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from portico.core.errors import UnsupportedParameter
from portico.core.events import Choice, Delta, FinishReason, ToolCall, fold
from portico.core.request import AS_TEXT, ChatPrompt, GenerationRequest, Message
from portico.service.generation import GenerationService
from portico.text.answer_format import AnswerFormat
from portico.text.reasoning import REASONING_FORMATS
from portico.text.tool_parsers import FORMATS
from tests.requests import make_request
from tests.service.conftest import Bench
from tests.service.test_generation import answer, collect

FORMAT = AnswerFormat(FORMATS["hermes"], REASONING_FORMATS["think"])
CALL = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
MARKUP = replace(AS_TEXT, tool_names=("f",), has_parallel_calls=True, has_reasoning=True)


def ask(**markup: Any) -> GenerationRequest:
    return make_request(stopping={"max_tokens": 300}, output={"markup": replace(MARKUP, **markup)})


async def choose(service: GenerationService, request: GenerationRequest) -> Choice:
    (choice,) = (await answer(service, request)).choices
    return choice


@pytest.mark.parametrize("tokens_per_step", [1, 7, 1000])
async def test_reasoning_text_and_calls(bench: Bench, tokens_per_step: int) -> None:
    text = f"<think>\nHm.\n</think>\n\nI look.{CALL}\n{CALL}So."
    service = await bench.start(text, answer_format=FORMAT, tokens_per_step=tokens_per_step)
    result = await answer(service, ask())
    (choice,) = result.choices
    assert (choice.reasoning, choice.text, choice.reason) == ("Hm.", "I look.So.", FinishReason.STOP)
    first, second = choice.calls
    assert (first.name, first.arguments) == ("f", '{"a": 1}')
    assert first.id != second.id
    assert all(len(call.id) == 9 and call.id.isalnum() for call in choice.calls)
    assert result.usage.num_output_tokens == len(text) + 1
    # Tokens of the opener count once it is complete; here they are letters.
    assert result.usage.num_reasoning_tokens == len(">\nHm.\n</think>")


async def test_the_parts_of_a_delta_come_in_order(bench: Bench) -> None:
    text = f"<think>a</think>b{CALL}c"
    events = await collect(await bench.start(text, answer_format=FORMAT, tokens_per_step=1000), ask())
    deltas = [event for event in events if isinstance(event, Delta)]
    first, second = deltas
    assert first.apart is not None
    assert (first.apart.reasoning, first.text, len(first.apart.calls)) == ("a", "b", 1)
    assert (second.text, second.apart) == ("c", None)
    assert [bool(delta.token_ids) for delta in deltas] == [True, False]


async def test_one_call_ends_the_choice_where_no_other_may_follow(bench: Bench) -> None:
    service = await bench.start(CALL * 3, answer_format=FORMAT)
    choice = await choose(service, ask(has_parallel_calls=False))
    assert (len(choice.calls), choice.text, choice.reason) == (1, "", FinishReason.STOP)
    assert len(choice.token_ids) == len(CALL) - len("</tool_call>")
    assert bench.engine.stats().num_running == 0


async def test_markup_is_text_where_nobody_asks(bench: Bench) -> None:
    service = await bench.start(f"<think>a</think>{CALL}", answer_format=FORMAT)
    choice = await choose(service, ask(tool_names=(), has_reasoning=False))
    assert (choice.text, choice.reasoning, choice.calls) == (f"<think>a</think>{CALL}", "", ())


async def test_a_call_that_is_cut_is_text(bench: Bench) -> None:
    service = await bench.start(CALL, answer_format=FORMAT)
    request = replace(ask(), stopping=replace(ask().stopping, max_tokens=30))
    choice = await choose(service, request)
    assert (choice.text, choice.calls, choice.reason) == (CALL[:30], (), FinishReason.LENGTH)


async def test_arguments_come_while_they_are_written(bench: Bench) -> None:
    events = await collect(await bench.start(CALL + CALL, answer_format=FORMAT), ask())
    pieces = [call for event in events if isinstance(event, Delta) and event.apart for call in event.apart.calls]
    assert [call.is_first for call in pieces if call.name == "f"].count(True) == 2
    assert [call.arguments for call in pieces if call.arguments] == list('{"a": 1}' * 2)
    (choice,) = fold(events).choices
    assert [(call.arguments, call.is_last) for call in choice.calls] == [('{"a": 1}', True)] * 2


async def test_a_call_of_which_the_arguments_are_cut(bench: Bench) -> None:
    service = await bench.start(CALL, answer_format=FORMAT)
    request = replace(ask(), stopping=replace(ask().stopping, max_tokens=len(CALL) - 15))
    choice = await choose(service, request)
    assert [(call.name, call.arguments, call.is_last) for call in choice.calls] == [("f", '{"a": ', False)]
    assert (choice.text, choice.reason) == ("", FinishReason.LENGTH)


async def test_a_stop_string_within_arguments_ends_them(bench: Bench) -> None:
    service = await bench.start(CALL, answer_format=FORMAT)
    request = replace(ask(), stopping=replace(ask().stopping, stop=(": 1",)))
    choice = await choose(service, request)
    assert [(call.arguments, call.is_last) for call in choice.calls] == [('{"a"', False)]
    assert (choice.text, choice.stop) == ("", ": 1")


async def test_values_have_the_types_of_the_tools_schema(bench: Bench) -> None:
    text = "<tool_call><function=f><parameter=a>1</parameter><parameter=b>1</parameter></function></tool_call>"
    answer_format = AnswerFormat(FORMATS["qwen3_coder"], reasoning=None)
    service = await bench.start(text, answer_format=answer_format, template="{{ messages[0].content }}{{ tools }}")
    parameters = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    prompt = ChatPrompt((Message("user", "hi", {}),), True, False, {}, None, False, (tool,))
    choice = await choose(service, replace(ask(), prompts=(prompt,)))
    assert [call.arguments for call in choice.calls] == ['{"a": 1, "b": "1"}']


async def test_a_template_may_begin_the_reasoning(bench: Bench) -> None:
    template = "{{ messages[0].content }}<think>\n"
    service = await bench.start("Hm.</think>Yes.", answer_format=FORMAT, template=template)
    prompt = ChatPrompt((Message("user", "hi", {}),), True, False, {}, None, False)
    choice = await choose(service, replace(ask(), prompts=(prompt,)))
    assert (choice.reasoning, choice.text) == ("Hm.", "Yes.")


async def test_control_tokens_that_are_markup_are_read(bench: Bench) -> None:
    """`<|im_start|>` is the only one at hand: it stands in for `[TOOL_CALLS]`."""
    calls = replace(FORMATS["mistral"], opener="<|im_start|>", markers=("<|im_start|>",))
    service = await bench.start('<|im_start|>f{"a": 1}', answer_format=AnswerFormat(calls, reasoning=None))
    choice = await choose(service, ask())
    assert [(call.name, call.arguments) for call in choice.calls] == [("f", '{"a": 1}')]


async def test_a_forced_call_is_bare_json(bench: Bench) -> None:
    service = await bench.start('{"name": "f", "arguments": {}}')
    choice = await choose(service, ask(is_forced_call=True, has_parallel_calls=False))
    assert [(call.name, call.arguments) for call in choice.calls] == [("f", "{}")]


async def test_several_choices_have_calls_of_their_own(bench: Bench) -> None:
    service = await bench.start(CALL, answer_format=FORMAT)
    request = replace(ask(), output=replace(ask().output, num_choices=2))
    result = fold(await collect(service, request))
    ids = {call.id for choice in result.choices for call in choice.calls}
    assert len(ids) == 2
    assert all(isinstance(call, ToolCall) for choice in result.choices for call in choice.calls)


async def test_calls_that_could_not_be_read_are_refused(bench: Bench) -> None:
    service = await bench.start(CALL)
    with pytest.raises(UnsupportedParameter, match="--tool-call-parser"):
        await answer(service, ask())


async def test_a_template_that_takes_no_tools(bench: Bench) -> None:
    service = await bench.start(CALL, answer_format=FORMAT)
    tool = {"type": "function", "function": {"name": "f"}}
    prompt = ChatPrompt((Message("user", "hi", {}),), True, False, {}, None, False, (tool,))
    with pytest.raises(UnsupportedParameter, match="does not take any"):
        await answer(service, replace(ask(), prompts=(prompt,)))
