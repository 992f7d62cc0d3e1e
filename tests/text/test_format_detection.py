"""Formats of calls, found by what templates say and by what they write for a call of an earlier turn."""

from __future__ import annotations

import pytest

from portico.text.answer_format import AnswerFormat
from portico.text.chat_template import ChatTemplate
from portico.text.format_detection import find_call_format
from portico.text.reasoning import REASONING_FORMATS
from portico.text.tool_parsers import FORMATS

_TURNS = (
    "{% if tools %}LESSON {{ tools | tojson }}{% endif %}"
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% for call in message.tool_calls or [] %}{% set call = call.function %}CALL{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>BEGIN{% endif %}"
)
_OBJECT = '{"name": "{{ call.name }}", "arguments": {{ call.arguments | tojson }}}'
_XML = "<function={{ call.name }}>{% for key, value in call.arguments.items() %}<parameter={{ key }}>{{ value }}"
_WORDS = "{% for key, value in call.arguments.items() %}{{ key }}={{ value | tojson }}, {% endfor %}"


def template(call: str, lesson: str = "", begin: str = "") -> ChatTemplate:
    source = _TURNS.replace("CALL", call).replace("LESSON", lesson).replace("BEGIN", begin)
    return ChatTemplate(source, {})


@pytest.mark.parametrize(
    ("call", "lesson", "name"),
    [
        (f"<tool_call>\n{_OBJECT}\n</tool_call>", "", "hermes"),
        (f"<tool_call>{_XML}</parameter>{{% endfor %}}</function></tool_call>", "", "qwen3_coder"),
        # What is said and what is done: a tag that begins like another, in a lesson about something else.
        (f"<tool_calls>[{_OBJECT}]</tool_calls>", "Not in <tool_call> tags.", "apriel"),
        # A tag that is known around something that is not.
        ("<tool_call><invoke>{{ call.name }}</invoke></tool_call>", "", None),
        # Made out of parts, so that no source shows it.
        (f"{{{{ '<TOOL' + 'CALL>' }}}}[{_OBJECT}]", "", "nemotron_json"),
        (_OBJECT, "", "llama3_json"),
        # Whatever it writes of earlier turns, this is what it asks for.
        (_OBJECT, "[func_name1(params_name1=params_value1), func_name2(params)]", "pythonic"),
        (f"[{{{{ call.name }}}}({_WORDS})]", "", "pythonic"),
        ("", "<|tool_call|> and a JSON list", "granite"),
        ("{{ raise_exception('no calls') }}", "[TOOL_CALLS]", "mistral"),
        ("<call>{{ call.name }}</call>", "", None),
        ("<function={{ call.name }}>{{ call.arguments | tojson }}</function>", "", "functionary"),
    ],
)
def test_formats(call: str, lesson: str, name: str | None) -> None:
    found = find_call_format(template(call, lesson))
    assert found is (None if name is None else FORMATS[name])


def test_a_turn_that_the_model_begins_with_reasoning() -> None:
    known = template(f"<tool_call>{_OBJECT}</tool_call>", begin="<think>\n")
    chosen = AnswerFormat.choose("auto", "auto", known)
    assert chosen == AnswerFormat(FORMATS["hermes"], reasoning=None)
    source = known.source.replace("{{ message.content }}", "{{ message.content.split('</think>')[-1] }}")
    chosen = AnswerFormat.choose("auto", "auto", ChatTemplate(source, {}))
    assert chosen == AnswerFormat(FORMATS["hermes"], REASONING_FORMATS["think"])
    assert chosen.describe() == "calls of tools hermes, reasoning think"


def test_marks_that_begin_like_those_of_reasoning() -> None:
    call = f"{{{{ '<T' + 'OOLCALL>' }}}}[{_OBJECT}]"
    assert find_call_format(template(call, begin="<THINK>")) is FORMATS["nemotron_json"]
    assert find_call_format(template("{{ '<func' + 'tion=' }}x", begin="<functions>")) is None


def test_what_the_operator_says_counts() -> None:
    known = template(f"<tool_call>{_OBJECT}</tool_call>")
    assert AnswerFormat.choose("mistral", "mistral", known).describe() == "calls of tools mistral, reasoning mistral"
    assert AnswerFormat.choose("none", "none", known).describe() == "calls of tools none, reasoning none"
    assert AnswerFormat.choose("auto", "auto", None).describe() == "calls of tools none, reasoning none"
