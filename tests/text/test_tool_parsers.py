from __future__ import annotations

import json
import time
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portico.config import ServerConfig
from portico.text.tool_parsers import FORMATS, detect_format
from portico.text.tool_parsers.format import ArgumentsPiece, CallBegun, CallEnded
from portico.text.tool_parsers.reader import CallReader
from portico.text.tool_parsers.source import MAX_MARKUP


@dataclass(frozen=True)
class Call:
    """A call of all its pieces."""

    name: str
    arguments: str
    is_whole: bool = True


HERMES = '<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm </tool_call> {"}}\n</tool_call>'
LLAMA = '{"name": "weather", "parameters": {"city": "Ulm </tool_call> {"}}'
MISTRAL = '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Ulm </tool_call> {"}}]'
MISTRAL_11 = '[TOOL_CALLS]weather[CALL_ID]a1b2c3d4e[ARGS]{"city": "Ulm </tool_call> {"}'
QWEN_3 = (
    "<tool_call>\n<function=weather>\n<parameter=city>\nUlm </tool_call> {\n</parameter>\n</function>\n</tool_call>"
)
GLM = "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Ulm </tool_call> {</arg_value>\n</tool_call>"
PYTHONIC = "[weather(city='Ulm </tool_call> {')]"
DEEPSEEK_CALL = '<｜tool▁call▁begin｜>weather<｜tool▁sep｜>{"city": "Ulm </tool_call> {"}<｜tool▁call▁end｜>'
DEEPSEEK_OLD = (
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n"
    '{"city": "Ulm </tool_call> {"}\n```<｜tool▁call▁end｜>'
)
DEEPSEEK = "<｜tool▁calls▁begin｜>{}<｜tool▁calls▁end｜>"
OBJECT = '{"name": "weather", "arguments": {"city": "Ulm </tool_call> {"}}'
FUNCTION = '<function=weather>{"city": "Ulm </tool_call> {"}</function>'
TOOLS: dict[str, dict[str, Any]] = {
    "weather": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "wind": {"type": "boolean"},
            "where": {"type": "object"},
            "unit": {"enum": ["C", "F"]},
            "note": {"type": ["string", "null"]},
        },
    }
}
CALL = Call("weather", '{"city": "Ulm </tool_call> {"}')
# The values of a call in markup, and what they are by the tool's schema.
VALUES = {
    "city": ("5", "5"),
    "days": (" 5 ", 5),
    "wind": ("True", True),
    "where": ('{"lat": [1.5, null]}', {"lat": [1.5, None]}),
    "unit": ("C", "C"),
    "note": ('a\n "b" \\ <c> é', 'a\n "b" \\ <c> é'),
    "other": ("[1]", "[1]"),
}
TYPED = Call("weather", json.dumps({key: value for key, (_, value) in VALUES.items()}, ensure_ascii=False))

EXAMPLES = [
    ("hermes", HERMES, [CALL]),
    ("hermes", f"\n{HERMES}\n{HERMES}\n", [CALL, CALL]),
    ("hermes", f"I look.\n{HERMES} Well {HERMES}", ["I look.\n", CALL, " Well ", CALL]),
    ("hermes", HERMES.removesuffix("</tool_call>"), [CALL]),
    ("hermes", '<tool_call>{"name":"f"}</tool_call>', [Call("f", "{}")]),
    ("hermes", '<tool_call>{"name":"f","arguments":"{\\"a\\":1}"}</tool_call>', [Call("f", '{"a": 1}')]),
    ("hermes", '<tool_call>{"arguments": {"a":1}, "name": "f"}</tool_call>', [Call("f", '{"a": 1}')]),
    ("hermes", '<tool_call>{"id": "x", "name": "f", "arguments": {"a":1}, "b": 2}</tool_call>', [Call("f", '{"a":1}')]),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": NaN}}</tool_call>.', [Call("f", '{"a": NaN}'), "."]),
    ("llama3_json", LLAMA, [CALL]),
    ("llama3_json", f"{LLAMA}; {LLAMA}", [CALL, CALL]),
    ("llama3_json", f"<|python_tag|>{LLAMA}", [CALL]),
    ("llama3_json", '{"type": "function", "name": "weather", "parameters": {}}', [Call("weather", "{}")]),
    ("mistral", MISTRAL, [CALL]),
    ("mistral", MISTRAL.replace("}}]", "}}, {}]").replace("{}]", '{"name": "f"}]'), [CALL, Call("f", "{}")]),
    ("mistral", f"Well. {MISTRAL_11}{MISTRAL_11}", ["Well. ", CALL, CALL]),
    ("mistral", '[TOOL_CALLS]weather{"city": "Ulm </tool_call> {"}', [CALL]),
    ("qwen3_coder", QWEN_3, [CALL]),
    ("qwen3_coder", f"I look.\n\n{QWEN_3}\n{QWEN_3}", ["I look.\n\n", CALL, CALL]),
    ("qwen3_coder", "<tool_call><function=f></function></tool_call>", [Call("f", "{}")]),
    ("qwen3_coder", QWEN_3.replace("\n", ""), [CALL]),
    (
        "qwen3_coder",
        "<tool_call>\n<function=weather>\n"
        + "".join(f"<parameter={key}>\n{text}\n</parameter>\n" for key, (text, _) in VALUES.items())
        + "</function>\n</tool_call>",
        [TYPED],
    ),
    ("glm45", GLM, [CALL]),
    ("glm45", f"\n{GLM}\n{GLM}", [CALL, CALL]),
    ("glm45", "<tool_call>f\n</tool_call>", [Call("f", "{}")]),
    (
        "glm45",
        "<tool_call>weather"
        + "".join(f"<arg_key>{key}</arg_key><arg_value>{text}</arg_value>" for key, (text, _) in VALUES.items())
        + "</tool_call>",
        [TYPED],
    ),
    ("pythonic", PYTHONIC, [CALL]),
    ("pythonic", f"{PYTHONIC}\n{PYTHONIC}", [CALL, CALL]),
    ("pythonic", f"I look. <|python_start|>{PYTHONIC}<|python_end|>", ["I look. ", CALL]),
    ("pythonic", "[weather(), weather( days = 5 , )]", [Call("weather", "{}"), Call("weather", '{"days": 5}')]),
    (
        "pythonic",
        "[weather(a=[1, (2, \"x,)\")], b={\"c\": None, 'd': True}, e=-1.5, f='\"\\'', g=true)]",
        [
            Call(
                "weather",
                json.dumps({"a": [1, [2, "x,)"]], "b": {"c": None, "d": True}, "e": -1.5, "f": "\"'", "g": True}),
            )
        ],
    ),
    ("deepseek_v3", DEEPSEEK.format(DEEPSEEK_CALL), [CALL]),
    ("deepseek_v3", "Well." + DEEPSEEK.format(DEEPSEEK_CALL * 2), ["Well.", CALL, CALL]),
    ("deepseek_v3", DEEPSEEK.format(f"{DEEPSEEK_OLD}\n{DEEPSEEK_OLD}"), [CALL, CALL]),
    ("granite", f"<|tool_call|>[{OBJECT}]", [CALL]),
    ("granite", f"I look. <|tool_call|> [{OBJECT}, {OBJECT}]<|/tool_call|>", ["I look. ", CALL, CALL]),
    ("phi4_mini_json", f"functools[{OBJECT}]", [CALL]),
    ("apriel", f"I look.\n<tool_calls>[{OBJECT}, {OBJECT}]</tool_calls>\n", ["I look.\n", CALL, CALL]),
    ("nemotron_json", f"<TOOLCALL>[{OBJECT}]</TOOLCALL>", [CALL]),
    ("nemotron_json", f"<TOOLCALL>[{OBJECT}]</TOOLCALL> Done.", [CALL, " Done."]),
    ("functionary", f"I look. {FUNCTION}{FUNCTION}", ["I look. ", CALL, CALL]),
    ("functionary", FUNCTION.removesuffix("</function>"), [CALL]),
]

# Calls that the length limit has cut: what there is of them.
CUT = [
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": ', [Call("f", '{"a": ', False)]),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": 1}', [Call("f", '{"a": 1}', False)]),
    ("mistral", '[TOOL_CALLS]f[ARGS]{"a', [Call("f", '{"a', False)]),
    (
        "qwen3_coder",
        "<tool_call><function=weather><parameter=city>Ul</par",
        [Call("weather", '{"city": "Ul</par', False)],
    ),
    ("qwen3_coder", "<tool_call><function=weather><parameter=days>5", [Call("weather", '{"days": ', False)]),
    ("pythonic", '[weather(days=5, city="U', [Call("weather", '{"days": 5', False)]),
    ("deepseek_v3", DEEPSEEK.format(DEEPSEEK_CALL)[:70], [Call("weather", '{"city": "Ul', False)]),
    ("granite", f"<|tool_call|>[{OBJECT}"[:60], [Call("weather", '{"city": "Ulm', False)]),
    ("functionary", FUNCTION[:30], [Call("weather", '{"city": "Ul', False)]),
]

# What is no call after all, or not a whole one.
TEXTS = [
    ("hermes", "if a < b and c <tool"),
    ("hermes", "<tool_call>weather"),
    ("hermes", "<tool_call><tool_call>no"),
    ("hermes", '<tool_call>{"name": 5}</tool_call>'),
    ("hermes", '<tool_call>{"name": "f", "arguments": [1]}</tool_call> and more'),
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
    ("qwen3_coder", "<tool_call>weather"),
    ("qwen3_coder", "<tool_call><function=" + "a" * 600 + ">"),
    ("qwen3_coder", "<tool_call><function=weather"),
    ("glm45", "<tool_call>two words</tool_call>"),
    ("glm45", "<tool_call>weather<b>"),
    ("pythonic", "[link](https://x.y) and [weather(1)"),
    ("pythonic", "[unknown(a=1)]"),
    ("pythonic", "[1, 2, 3]"),
    ("deepseek_v3", "<｜tool▁calls▁begin｜>weather"),
    ("granite", "<|tool_call|>weather"),
    ("phi4_mini_json", "Use functools [1, 2] for that, or functools.reduce"),
    ("apriel", "<tool_calls>[]</tool_calls>"),
    ("nemotron_json", "<TOOLCALL>[5]</TOOLCALL>"),
    ("functionary", "<function=weather>city</function>"),
    ("functionary", "<function=" + "a" * 600 + ">{}"),
    ("deepseek_v3", DEEPSEEK.format("<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\nno")),
]


def read(name: str, *pieces: str) -> list[str | Call]:
    """The parts of a text, texts and pieces of calls joined."""
    reader = CallReader(FORMATS[name], TOOLS)
    joined: list[str | Call] = []
    for part in [part for piece in pieces for part in reader.feed(piece)] + reader.flush():
        last = joined[-1] if joined else None
        match part:
            case CallBegun(tool_name):
                joined.append(Call(tool_name, "", False))
            case ArgumentsPiece(text):
                assert isinstance(last, Call)
                assert not last.is_whole
                joined[-1] = replace(last, arguments=last.arguments + text)
            case CallEnded():
                assert isinstance(last, Call)
                joined[-1] = replace(last, is_whole=True)
            case str() if isinstance(last, str):
                joined[-1] = last + part
            case str():
                joined.append(part)
    return joined


@pytest.mark.parametrize(("name", "text", "parts"), EXAMPLES)
def test_calls(name: str, text: str, parts: list[str | Call]) -> None:
    assert read(name, text) == parts
    assert read(name, *text) == parts


@pytest.mark.parametrize(("name", "text", "parts"), CUT)
def test_calls_that_are_cut(name: str, text: str, parts: list[str | Call]) -> None:
    assert read(name, text) == parts
    assert read(name, *text) == parts


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hermes", HERMES),
        ("llama3_json", LLAMA),
        ("mistral", MISTRAL),
        ("mistral", MISTRAL_11),
        ("qwen3_coder", QWEN_3),
        ("glm45", GLM),
        ("deepseek_v3", DEEPSEEK.format(DEEPSEEK_CALL)),
        ("deepseek_v3", DEEPSEEK.format(DEEPSEEK_OLD)),
    ],
)
def test_arguments_come_while_they_are_written(name: str, text: str) -> None:
    reader = CallReader(FORMATS[name], TOOLS)
    before = reader.feed(text[: text.index("Ulm") + 2])
    assert before[0] == CallBegun("weather")
    assert "".join(each.text for each in before if isinstance(each, ArgumentsPiece)) == '{"city": "Ul'


@pytest.mark.parametrize(("name", "text"), TEXTS)
def test_text_that_is_no_call_is_not_lost(name: str, text: str) -> None:
    assert read(name, text) == [text]
    assert read(name, *text) == [text]


def test_a_call_behind_what_is_none() -> None:
    assert read("hermes", "<tool_call>" + HERMES) == ["<tool_call>", CALL]


def test_text_is_shown_as_soon_as_it_is_no_markup() -> None:
    reader = CallReader(FORMATS["hermes"], TOOLS)
    assert reader.feed("a <tool") == ["a "]
    assert reader.feed("box") == ["<toolbox"]


@given(st.data(), st.sampled_from(EXAMPLES))
def test_pieces_do_not_matter(data: st.DataObject, example: tuple[str, str, list[str | Call]]) -> None:
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
                "<function=",
                "<parameter=city>",
                "</parameter>",
                "</function>",
                "<arg_key>",
                "</arg_key>",
                "<arg_value>",
                "</arg_value>",
                "weather",
                "(",
                ")",
                "=",
                ",",
                "5",
                '{"name": "weather", "arguments": {',
                "<｜tool▁calls▁begin｜>",
                "<｜tool▁call▁begin｜>",
                "<｜tool▁sep｜>",
            ]
        ),
        max_size=20,
    ),
)
@example("hermes", ["<tool_call>", " ", "{"])
def test_without_calls_nothing_is_lost(name: str, pieces: list[str]) -> None:
    parts = read(name, *pieces)
    assert all(isinstance(part, str | Call) for part in parts)
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
    call = f'<tool_call>{{"arguments": {{"a": "{"x" * MAX_MARKUP}"}}, "name": "f"}}</tool_call>'
    assert read("hermes", *(call[at : at + 1000] for at in range(0, len(call), 1000))) == [call]


@pytest.mark.parametrize(
    "name",
    ["hermes", "qwen3_coder", "glm45", "llama3_json", "pythonic", "mistral", "deepseek_v3", "granite", "functionary"],
)
@pytest.mark.parametrize("size", [16, 520_000])
def test_half_a_megabyte_of_markers_is_read_in_no_time(name: str, size: int) -> None:
    for marker in (FORMATS[name].opener, FORMATS[name].markers[-1], '{"name": "weather", "arguments": {"a": "'):
        text = (marker * (520_000 // len(marker)))[:520_000]
        reader = CallReader(FORMATS[name], TOOLS)
        slowest = 0.0
        for at in range(0, len(text), size):
            started_at = time.thread_time()
            reader.feed(text[at : at + size])
            slowest = max(slowest, time.thread_time() - started_at)
        started_at = time.thread_time()
        reader.flush()
        slowest = max(slowest, time.thread_time() - started_at)
        # A step of the engine writes a few tokens; all at once is what an answer of one step would be.
        assert slowest < (0.05 if size == 16 else 1)


def test_every_format_can_be_asked_for() -> None:
    (flag,) = (each for each in fields(ServerConfig) if each.name == "tool_call_parser")
    assert set(flag.metadata["choices"]) == {"auto", "none", *FORMATS}


def test_formats_are_found_in_templates() -> None:
    assert detect_format("... <tool_call>\n{{ call | tojson }}\n</tool_call>") is FORMATS["hermes"]
    assert detect_format("{{ '[TOOL_CALLS]' }}") is FORMATS["mistral"]
    lesson = 'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.'
    assert detect_format(lesson) is FORMATS["llama3_json"]
    assert detect_format("<tool_call>\n<function=name>") is FORMATS["qwen3_coder"]
    assert detect_format("<tool_call>{name}\n<arg_key>") is FORMATS["glm45"]
    assert detect_format("[func_name1(params_name1=params_value1), func_name2(params)]") is FORMATS["pythonic"]
    assert detect_format("{{ '<｜tool▁calls▁begin｜>' }}") is FORMATS["deepseek_v3"]
    assert detect_format("respond only with <|tool_call|> followed by a JSON list of tools used") is FORMATS["granite"]
    assert detect_format("return <tool_calls>[{...}]</tool_calls>") is FORMATS["apriel"]
    assert detect_format("{{ '<TOOLCALL>' }}") is FORMATS["nemotron_json"]
    assert detect_format("formatted as functools[...]") is FORMATS["phi4_mini_json"]
    assert detect_format("{{ '<function=' + name + '>' }}") is FORMATS["functionary"]
    assert detect_format("{{ messages }}") is None


def test_a_call_that_is_broken_off_is_followed_by_text() -> None:
    text = "[weather(days=5, oh no)] Sorry."
    assert read("pythonic", text) == [Call("weather", '{"days": 5', False), ", oh no)] Sorry."]
    assert read("pythonic", *text) == read("pythonic", text)


def test_arguments_are_json() -> None:
    (call,) = read("hermes", '<tool_call>{"name": "f", "arguments": {"城": [1.5, true, null]}}</tool_call>')
    assert isinstance(call, Call)
    assert json.loads(call.arguments) == {"城": [1.5, True, None]}
