from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.text.reasoning import REASONING_FORMATS, Reasoning, ReasoningReader, detect_reasoning

THINK = REASONING_FORMATS["think"]

EXAMPLES = [
    ("<think>\nWell.\n</think>\n\nYes.", False, "Well.", "Yes."),
    ("Well.\n\nSo.</think>Yes.", True, "Well.\n\nSo.", "Yes."),
    ("\n<think></think>Yes.", False, "", "Yes."),
    ("<think>Without an end\n", False, "Without an end\n", ""),
    ("Yes, <think>no</think>.", False, "", "Yes, <think>no</think>."),
    ("<think>a</think>b <think>c</think>", False, "a", "b <think>c</think>"),
    ("<thin", False, "", "<thin"),
    ("</think>", True, "", ""),
    ("a </thin", True, "a </thin", ""),
]


def read(is_inside: bool, *pieces: str) -> tuple[str, str]:
    reader = ReasoningReader(THINK, is_inside)
    parts = [part for piece in pieces for part in reader.feed(piece)] + reader.flush()
    reasoning = "".join(part.text for part in parts if isinstance(part, Reasoning))
    return reasoning, "".join(part for part in parts if isinstance(part, str))


@pytest.mark.parametrize(("text", "is_inside", "reasoning", "answer"), EXAMPLES)
def test_reasoning_is_told_from_the_answer(text: str, is_inside: bool, reasoning: str, answer: str) -> None:
    assert read(is_inside, text) == (reasoning, answer)
    assert read(is_inside, *text) == (reasoning, answer)


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "/think>", "a", "\n", " "]), max_size=12), st.booleans())
def test_pieces_do_not_matter(pieces: list[str], is_inside: bool) -> None:
    assert read(is_inside, *pieces) == read(is_inside, "".join(pieces))


def test_where_a_prompt_ends() -> None:
    assert THINK.ends_inside("<|assistant|>\n<think>\n")
    assert not THINK.ends_inside("<think>\n\n</think>\n\n")


def test_the_marks_of_another_family() -> None:
    brackets = detect_reasoning("{{ '[THINK]' + block.thinking + '[/THINK]' }}")
    assert brackets is REASONING_FORMATS["mistral"]
    reader = ReasoningReader(brackets, brackets.ends_inside("[INST]Why?[/INST]"))
    parts = [
        part for piece in "[THINK]Hm </think>[/THIN.[/THINK]\n\nSo." for part in reader.feed(piece)
    ] + reader.flush()
    assert "".join(part.text for part in parts if isinstance(part, Reasoning)) == "Hm </think>[/THIN."
    assert "".join(part for part in parts if isinstance(part, str)) == "So."


def test_marks_are_found_in_templates() -> None:
    assert detect_reasoning("{{ content.split('</think>')[-1] }}") is THINK
    assert detect_reasoning("{{ content }}") is None
