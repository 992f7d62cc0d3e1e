"""The fold of a stream is the whole answer, however the stream was cut and mixed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.core.events import (
    Apart,
    Delta,
    Event,
    FinishReason,
    Prefilled,
    Started,
    ToolCall,
    Usage,
    UsageCounter,
    fold,
)
from tests.core.events import delta, finished, token


def test_one_choice() -> None:
    result = fold([Started("m", (3,)), Prefilled(0, 2, ()), delta(0, "he", [1]), delta(0, "y", [2, 3]), finished(0)])
    [choice] = result.choices
    assert result.model == "m"
    assert result.usage == Usage(3, 3, 2)
    assert (choice.text, choice.token_ids, choice.tokens) == ("hey", (1, 2, 3), (token(1), token(2), token(3)))
    assert (choice.reason, choice.stop, choice.seed) == (FinishReason.STOP, None, 7)


def test_choices_are_ordered_by_index() -> None:
    events: list[Event] = [Started("m", (1,)), delta(1, "b", [1]), delta(0, "a", [2]), finished(1), finished(0)]
    assert [choice.text for choice in fold(events).choices] == ["a", "b"]


def test_a_choice_without_output_is_empty() -> None:
    [choice] = fold([Started("m", (1,)), finished(0)]).choices
    assert (choice.text, choice.token_ids) == ("", ())


def test_text_may_lag_behind_tokens() -> None:
    [choice] = fold([Started("m", (1,)), delta(0, "", [1]), delta(0, "é", [2]), delta(0, "!", []), finished(0)]).choices
    assert (choice.text, choice.token_ids) == ("é!", (1, 2))


def test_prompts_are_in_their_order_and_empty_unless_asked_for() -> None:
    events: list[Event] = [Started("m", (1, 2)), Prefilled(1, 0, (token(5), token(6))), finished(0), finished(1)]
    result = fold(events)
    assert result.prompts == ((), (token(5), token(6)))
    assert result.usage.num_prompt_tokens == 3


def test_a_stream_must_begin() -> None:
    with pytest.raises(ValueError, match="begins with Started"):
        fold([finished(0)])


def test_every_choice_must_end() -> None:
    with pytest.raises(ValueError, match=r"without an end: \[1\]"):
        fold([Started("m", (1,)), delta(0, "a", [1]), delta(1, "b", [1]), finished(0)])


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[str], list[list[int]], list[Event]]:
    """Texts and ids of some choices, and their deltas in an order that keeps each choice's own."""
    num_choices = draw(st.integers(1, 4))
    pieces = [
        draw(st.lists(st.tuples(st.text(max_size=3), st.lists(st.integers(0, 99), max_size=3)), max_size=5))
        for _ in range(num_choices)
    ]
    order = draw(st.permutations([index for index, each in enumerate(pieces) for _ in range(len(each) + 1)]))
    positions = [0] * num_choices
    events: list[Event] = [Started("m", (1,)), Prefilled(0, 0, ())]
    for index in order:
        if positions[index] == len(pieces[index]):
            events.append(finished(index))
        else:
            events.append(delta(index, *pieces[index][positions[index]]))
        positions[index] += 1
    texts = ["".join(text for text, _ in each) for each in pieces]
    return texts, [[token_id for _, ids in each for token_id in ids] for each in pieces], events


@settings(deadline=None)
@given(streams())
def test_fold_joins_each_choice(stream: tuple[list[str], list[list[int]], list[Event]]) -> None:
    texts, token_ids, events = stream
    result = fold(events)
    assert [choice.text for choice in result.choices] == texts
    assert [list(choice.token_ids) for choice in result.choices] == token_ids
    assert result.usage.num_output_tokens == sum(map(len, token_ids))


@settings(deadline=None)
@given(streams())
def test_usage_of_a_broken_off_stream_counts_what_came(
    stream: tuple[list[str], list[list[int]], list[Event]],
) -> None:
    events = stream[2][: len(stream[2]) // 2]
    counter = UsageCounter()
    for event in events:
        counter.feed(event)
    num_output_tokens = sum(len(event.token_ids) for event in events if isinstance(event, Delta))
    assert counter.usage().num_output_tokens == num_output_tokens


def test_tokens_of_the_text_are_told_from_those_of_reasoning_and_calls() -> None:
    thought, closer, part, whole, opener, call, end = map(token, range(7))
    found = fold(
        [
            Started("m", (1,)),
            Delta(0, "", (0,), (thought,)),
            Delta(0, "", (1, 2), (closer, part), Apart("Hm.", (), 1)),
            Delta(0, "é", (3,), (whole,)),
            Delta(0, "", (4,), (opener,)),
            Delta(0, "", (5,), (call,), Apart("", (ToolCall("a", "f", "{}"),), 0)),
            Delta(0, "", (6,), (end,)),
            finished(0),
        ]
    ).choices[0]
    assert found.text_tokens == (part, whole)
    ended = fold([Started("m", (1,)), Delta(0, "é", (3,), (whole,)), Delta(0, "", (6,), (end,)), finished(0)]).choices[
        0
    ]
    assert ended.text_tokens == (whole, end)
