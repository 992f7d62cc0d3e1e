from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portico.text.tool_parsers import FORMATS, detect_format
from portico.text.tool_parsers.format import ParsedCall
from portico.text.tool_parsers.reader import MAX_MARKUP, CallReader, Part

HERMES = '<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm </tool_call> {"}}\n</tool_call>'
LLAMA = '{"name": "weather", "parameters": {"city": "Ulm </tool_call> {"}}'
MISTRAL = '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Ulm </tool_call> {"}}]'
MISTRAL_11 = '[TOOL_CALLS]weather[CALL_ID]a1b2c3d4e[ARGS]{"city": "Ulm </tool_call> {"}'
CALL = ParsedCall("weather", '{"city": "Ulm </tool_call> {"}')

EXAMPLES = [
    ("hermes", HERMES, [CALL]),
    ("hermes", f"\n{HERMES}\n{HERMES}\n", [CALL, CALL]),
    ("hermes", f"I look.\n{HERMES} Well {HERMES}", ["I look.\n", CALL, " Well ", CALL]),
    ("hermes", HERMES.removesuffix("</tool_call>"), [CALL]),
    ("hermes", '<tool_call>{"name":"f"}</tool_call>', [ParsedCall("f", "{}")]),
    ("hermes", '<tool_call>{"name":"f","arguments":"{\\"a\\":1}"}</tool_call>', [ParsedCall("f", '{"a": 1}')]),
    ("llama3_json", LLAMA, [CALL]),
    ("llama3_json", f"{LLAMA}; {LLAMA}", [CALL, CALL]),
    ("llama3_json", f"<|python_tag|>{LLAMA}", [CALL]),
    ("mistral", MISTRAL, [CALL]),
    ("mistral", MISTRAL.replace("}}]", "}}, {}]").replace("{}]", '{"name": "f"}]'), [CALL, ParsedCall("f", "{}")]),
    ("mistral", f"Well. {MISTRAL_11}{MISTRAL_11}", ["Well. ", CALL, CALL]),
    ("mistral", '[TOOL_CALLS]weather{"city": "Ulm </tool_call> {"}', [CALL]),
]

# What is no call after all, or not a whole one.
TEXTS = [
    ("hermes", "if a < b and c <tool"),
    ("hermes", "<tool_call>weather"),
    ("hermes", "<tool_call><tool_call>no"),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": '),
    ("hermes", '<tool_call>{"name": 5}</tool_call>'),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": NaN}}</tool_call> and more'),
    ("hermes", "<tool_call>{'name': 'f'}</tool_call>"),
    ("hermes", "<tool_call>" + '{"a":' * 2000 + "1" + "}" * 2000),
    ("hermes", "\n \n"),
    ("llama3_json", '{"name": "unknown", "parameters": {}}'),
    ("llama3_json", '{"a": 1}; {"b": 2}'),
    ("llama3_json", f"The call is {LLAMA}"),
    ("mistral", "[TOOL_CALLS]"),
    ("mistral", "[TOOL_CALLS] [1, 2]"),
    ("mistral", "[TOOL_CALLS]two words {}"),
    ("mistral", "[TOOL_CALLS]" + "a" * 400 + "{}"),
]


def read(name: str, *pieces: str) -> list[Part]:
    """The parts of a text, texts joined."""
    reader = CallReader(FORMATS[name], ["weather"])
    parts = [part for piece in pieces for part in reader.feed(piece)] + reader.flush()
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


@pytest.mark.parametrize(("name", "text", "parts"), EXAMPLES)
def test_calls(name: str, text: str, parts: list[Part]) -> None:
    assert read(name, text) == parts
    assert read(name, *text) == parts


@pytest.mark.parametrize(("name", "text"), TEXTS)
def test_text_that_is_no_call_is_not_lost(name: str, text: str) -> None:
    assert read(name, text) == [text]
    assert read(name, *text) == [text]


def test_a_call_behind_what_is_none() -> None:
    assert read("hermes", "<tool_call>" + HERMES) == ["<tool_call>", CALL]


def test_text_is_shown_as_soon_as_it_is_no_markup() -> None:
    reader = CallReader(FORMATS["hermes"], ["weather"])
    assert reader.feed("a <tool") == ["a "]
    assert reader.feed("box") == ["<toolbox"]


@given(st.data(), st.sampled_from(EXAMPLES))
def test_pieces_do_not_matter(data: st.DataObject, example: tuple[str, str, list[Part]]) -> None:
    name, text, parts = example
    cuts = sorted(data.draw(st.sets(st.integers(1, len(text) - 1), max_size=8)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(name, *pieces) == parts


@given(
    st.sampled_from(sorted(FORMATS)),
    st.lists(
        st.sampled_from(
            [
                "<tool_call>",
                "</tool_call>",
                "[TOOL_CALLS]",
                "[ARGS]",
                "f",
                '"',
                "\\",
                "{",
                "}",
                "[",
                "]",
                " ",
                "\n",
                ";",
                "<|python_tag|>",
            ]
        ),
        max_size=20,
    ),
)
@example("hermes", ["<tool_call>", " ", "{"])
def test_without_calls_nothing_is_lost(name: str, pieces: list[str]) -> None:
    parts = read(name, *pieces)
    if all(isinstance(part, str) for part in parts):
        assert "".join(map(str, parts)) == "".join(pieces)
    assert read(name, "".join(pieces)) == parts


@pytest.mark.parametrize(
    ("name", "piece"),
    [
        ("hermes", "<tool_call>"),
        ("hermes", "<tool_call>{"),
        ("hermes", '<tool_call>{"'),
        ("hermes", " "),
        ("mistral", "[TOOL_CALLS]a"),
        ("mistral", "[TOOL_CALLS][["),
        ("llama3_json", "{"),
    ],
)
def test_markup_without_end_is_read_in_linear_time(name: str, piece: str) -> None:
    text = piece * 50_000
    started = time.process_time()
    assert read(name, *(text[at : at + 4] for at in range(0, len(text), 4))) == [text]
    assert time.process_time() - started < 5


def test_markup_that_is_too_long_is_text() -> None:
    call = f'<tool_call>{{"name": "f", "arguments": {{"a": "{"x" * MAX_MARKUP}"}}}}</tool_call>'
    assert read("hermes", *(call[at : at + 1000] for at in range(0, len(call), 1000))) == [call]


def test_formats_are_found_in_templates() -> None:
    assert detect_format("... <tool_call>\n{{ call | tojson }}\n</tool_call>") is FORMATS["hermes"]
    assert detect_format("{{ '[TOOL_CALLS]' }}") is FORMATS["mistral"]
    lesson = 'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.'
    assert detect_format(lesson) is FORMATS["llama3_json"]
    assert detect_format("<tool_call>\n<function=name>") is None
    assert detect_format("{{ messages }}") is None


def test_arguments_are_json() -> None:
    (call,) = read("hermes", '<tool_call>{"name": "f", "arguments": {"城": [1.5, true, null]}}</tool_call>')
    assert isinstance(call, ParsedCall)
    assert json.loads(call.arguments) == {"城": [1.5, True, None]}
