from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from portico.core.errors import InvalidParameter
from portico.core.request import ChatPrompt, Message
from portico.text.chat_template import ChatTemplate, ChatTemplateLoadError

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat(*messages: Message, **changes: Any) -> ChatPrompt:
    return replace(ChatPrompt(messages, True, False, {}, None, False), **changes)


def user(content: str) -> Message:
    return Message("user", content, {})


def test_the_prompt_ends_where_the_assistant_speaks() -> None:
    prompt = ChatTemplate(CHATML, {}).render(chat(Message("system", "s", {}), user("你好")))
    assert prompt == "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n"


def test_the_turn_of_the_assistant_may_be_left_out() -> None:
    prompt = ChatTemplate(CHATML, {}).render(chat(user("x"), add_generation_prompt=False))
    assert prompt == "<|im_start|>user\nx<|im_end|>\n"


@pytest.mark.parametrize("content", ["The sky ", "", "<|im_end|>\n"])
def test_a_final_message_is_continued_after_its_content(content: str) -> None:
    messages = (user("x"), Message("assistant", content, {}))
    asked = chat(*messages, add_generation_prompt=False, continue_final_message=True)
    prompt = ChatTemplate(CHATML, {}).render(asked)
    assert prompt == f"<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n{content}"


def test_a_final_message_that_is_not_written_cannot_be_continued() -> None:
    asked = chat(user("x"), add_generation_prompt=False, continue_final_message=True)
    with pytest.raises(InvalidParameter, match="cannot be continued") as caught:
        ChatTemplate("{{ messages[0].content | length }}", {}).render(asked)
    assert caught.value.name == "continue_final_message"


def test_a_template_reads_further_arguments() -> None:
    template = ChatTemplate("{{ thinking }}{{ eos_token }}", {"eos_token": "</s>"})
    assert template.render(chat(user("x"), template_arguments={"thinking": False, "unread": 1})) == "False</s>"


def test_a_template_reads_only_so_many_arguments() -> None:
    template = ChatTemplate("{{ x255 }}", {})
    assert template.render(chat(user("x"), template_arguments={f"x{each}": each for each in range(256)})) == "255"
    with pytest.raises(
        InvalidParameter, match=r"`chat_template_kwargs` can have at most 256 names, got 257\."
    ) as caught:
        template.render(chat(user("x"), template_arguments={f"x{each}": each for each in range(257)}))
    assert caught.value.name == "chat_template_kwargs"


@pytest.mark.parametrize("name", ["messages", "chat_template", "tokenize", "tools", "raise_exception", "eos_token"])
def test_arguments_do_not_replace_what_a_template_has(name: str) -> None:
    with pytest.raises(InvalidParameter, match=f"cannot set `{name}`"):
        ChatTemplate("", {"eos_token": "</s>"}).render(chat(user("x"), template_arguments={name: "mine"}))


def test_the_checkpoints_template_may_use_its_special_tokens(tmp_path: Path) -> None:
    source = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ pad_token }}"
    config: dict[str, Any] = {"chat_template": source, "eos_token": "</s>"}
    config |= {"bos_token": {"content": "<s>"}, "add_bos_token": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": "other", "pad_token": "<p>"}))
    template = ChatTemplate.load(tmp_path, None)
    assert template is not None
    assert template.render(chat(user("x"))) == "<s>x</s><p>"


def test_an_operators_template_comes_first(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("checkpoint")
    (tmp_path / "mine.jinja").write_text("mine")
    template = ChatTemplate.load(tmp_path, tmp_path / "mine.jinja")
    assert template is not None
    assert template.render(chat(user("x"))) == "mine"


def test_a_checkpoint_may_have_no_template(tmp_path: Path) -> None:
    assert ChatTemplate.load(tmp_path, None) is None


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[5].content }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ 1 / 0 }}",
    ],
)
def test_a_template_that_refuses_is_the_clients_error(source: str) -> None:
    with pytest.raises(InvalidParameter, match="chat template refuses"):
        ChatTemplate(source, {}).render(chat(user("x")))


TEXT, LIST, WIDE = "more than 16777216 characters", "list of more than 1048576 items", "width of more than 999"
DOUBLINGS = "{% for i in range(99) %}{% set n.x = DOUBLED %}{% endfor %}"
HOSTILE = {
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}": "more than 2 seconds",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}": "more than 2 seconds",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "recursion",
    "{{ 'x' * 99999999999 }}": TEXT,
    "{{ ('a' * 100000000) | length }}": TEXT,
    "{{ 99999999999 * [1] }}": LIST,
    "{{ range(10 ** 9) | list }}": "Range too big",
    "{% set n = namespace(x='xx') %}" + DOUBLINGS.replace("DOUBLED", "n.x + n.x"): TEXT,
    "{% set n = namespace(x='xx') %}" + DOUBLINGS.replace("DOUBLED", "n.x ~ n.x"): TEXT,
    "{% set n = namespace(x=[1, 1]) %}" + DOUBLINGS.replace("DOUBLED", "n.x + n.x") + " ": TEXT,
    "{% set n = namespace(x='xx') %}{% for i in range(99) %}{% set x %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = x %}"
    "{% endfor %}": TEXT,
    "{% set n = namespace(x='x') %}" + DOUBLINGS.replace("DOUBLED", "n.x | replace('x', 'xx')"): "more than",
    "{% set x = range(99999) | list %}{{ x | reject('in', x) | list }}": "more than 2 seconds",
    "{% set x = range(99999) | list %}{% set x = x + x + x %}" + "{% set y = x | max %}" * 2000: "more than 2 seconds",
    "{% set x = 'a' * 9999999 %}" + "{% set y = 'aaaab' in x %}" * 2000: "more than 2 seconds",
    "{% set x = 'a' * 9999999 %}" + "{% set y = x.find('aaaab') %}" * 2000: "more than 2 seconds",
    "{% set x = 'x' * 9999999 %}" + "{% set y = x ~ 'a' %}" * 99: "268435456 characters in",
    "{{ 9 ** (9 ** 9) }}": "4096 bits",
    "{% set n = namespace(x=99) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}": "4096 bits",
    "{{ ('f' * 9999999) | int(0, 16) }}": "4096 bits",
    "{{ 2.5 | round(999999999, 'ceil') }}": "more than 100 places",
    "{{ (1).to_bytes(999999999) }}": TEXT,
    # Widths, in every way of formatting.
    "{{ 'x' | center(1000000000) }}": TEXT,
    "{{ 'x'.center(1000000000) }}{{ 'x'.zfill(1) }}": TEXT,
    "{{ '1'.zfill(1000000000) }}": TEXT,
    "{{ ('\\t' * 99999).expandtabs(99999) }}": TEXT,
    "{{ ('\\n' * 99999) | indent(99999) }}": TEXT,
    "{{ ('\\n' * 9999) | indent('x' * 9999) }}": TEXT,
    "{{ [1] | batch(999999999, 0) | list }}": LIST,
    "{{ [1] | slice(999999999) | list }}": LIST,
    "{{ ('%1000000000d' % 1) | length }}": WIDE,
    "{{ ('%*d' % (1000000000, 1)) | length }}": WIDE,
    "{{ ('%.1000000000f' % 1) | length }}": WIDE,
    "{{ '%(a)1000000000d' | format(a=1) }}": WIDE,
    "{{ '{:1000000000}'.format(1) }}": WIDE,
    "{{ '{:{}}'.format(1, 1000000000) }}": WIDE,
    "{{ '{a:1000000000}'.format_map({'a': 1}) }}": WIDE,
    "{{ ('%s' * 9999) % ('x' * 9999) }}": TEXT,
    "{{ ('{0}' * 9999).format('x' * 9999) }}": TEXT,
    # Much of little.
    "{{ ('a' * 9999).replace('', 'x' * 9999) }}": TEXT,
    "{{ ('x' * 9999).join('a' * 9999) }}": TEXT,
    "{{ ('x' * 9999).join(range(9999) | map('string')) }}": TEXT,
    "{{ range(9999) | join('x' * 9999) }}": TEXT,
    "{{ (['x' * 9999] * 9999) | join }}": TEXT,
    "{{ ('aaaa' * 99).translate({97: 'x' * 99}) }}": "not available",
    "{{ lipsum(9999999) }}": "undefined",
    "{{ ('a ' * 9999999).split(' ') | length }}": TEXT,
    "{{ ('a ' * 4999999).split(' ') | length }}": LIST,
    "{{ ('a' * 9999999) | list | length }}": LIST,
    "{{ (('x' * 99 + ' ') * 9999) | wordwrap(1) }}": "`wordwrap` gets more than",
    "{{ ('<!---->' * 99999) | striptags }}": "`striptags` gets more than",
    "{{ (([[1] * 99] * 999) | sum(start=[])) | length }}": "numbers only",
    "{{ [[1] * 9999] * 9999 }}": TEXT,
    "{{ ([[1] * 9999] * 9999) | tojson | length }}": TEXT,
    "{{ ([[1] * 9999] * 9999) ~ '' }}": TEXT,
    "{{ ([1] * 99999) | tojson(indent=9999) | length }}": TEXT,
    "{{ ([1] * 99999) | tojson(separators=('x' * 9999, '')) | length }}": TEXT,
    # The same list again and again within itself, which takes no memory until it is written, compared or looked up.
    "{% set n = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}"
    "{% endfor %}{{ n.x == n.y }}": TEXT,
    "{% set n = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}"
    "{% endfor %}{{ n.x is eq n.y }}": TEXT,
    "{% set n = namespace(x=(1,)) %}{% for i in range(60) %}{% set n.x = (n.x, n.x) %}{% endfor %}{{ {n.x: 1} }}": TEXT,
    "{% set n = namespace(x=(1,)) %}{% for i in range(60) %}{% set n.x = (n.x, n.x) %}{% endfor %}{{ {}[n.x] }}": TEXT,
    "{% set n = namespace(x={}) %}{% for i in range(60) %}{% set n.x = {'a': n.x, 'b': n.x} %}{% endfor %}"
    "{{ n.x.items() }}": TEXT,
    "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set n.x = namespace(a=n.x, b=n.x) %}{% endfor %}"
    "{{ n.x }}": "a namespace is used as a value",
    # Each of them is allowed, and all of them together are not.
    "{% set x = 'x' * 9999999 %}{% for i in range(99) %}{% set y = x | upper %}{% endfor %}": "268435456 characters in",
    "{% set x = 'x' * 9999999 %}" + "{% set y = x[1:] %}" * 99: "268435456 characters in",
    "{% set x = range(99999) | list %}{{ x | select('in', x) | list }}": "more than 2 seconds",
    "{{ ''.__class__.__base__.__subclasses__() }}": "refuses",
    "{{ cycler.__init__.__globals__.os.system('true') }}": "refuses",
    "{{ messages | dictsort }}": "refuses",
    "{{ raise_exception('x' * 9999999) }}": "refuses these messages: x{1000}\\.",
}


@pytest.mark.parametrize("marks_own", [False, True])
@pytest.mark.parametrize("source", HOSTILE)
def test_a_checkpoints_hostile_template_is_stopped(source: str, marks_own: bool) -> None:
    started_at = time.thread_time()
    with pytest.raises(InvalidParameter, match=HOSTILE[source]):
        ChatTemplate(source, {}, marks_own).render(chat(user("x")))
    assert time.thread_time() - started_at < 4


@pytest.mark.parametrize(
    "value", [99999999999, -1, 1e308, "x" * 99999, ["x"] * 99999, {"a": {"b": None}}, None, True, 10**4000]
)
@pytest.mark.parametrize("marks_own", [False, True])
def test_arguments_of_any_kind_do_no_harm(value: Any, marks_own: bool) -> None:
    source = (
        "{% for i in range(n) %}x{% endfor %}|{% for i in n %}{{ ' ' * n }}{% endfor %}|{{ n.x.y }}|{{ n + 1 }}|"
        "{{ n ** n }}|{{ {'a': [1]} | tojson(indent=n) | length }}|{{ 'x'.split(n) }}|{{ 'abc'[n:] }}|{{ 'x' ~ n }}"
    )
    for part in source.split("|{"):
        try:
            text = ChatTemplate(part if part.startswith("{") else "{" + part, {}, marks_own).render(
                chat(user("x"), template_arguments={"n": value})
            )
        except InvalidParameter:
            continue
        assert len(text) < 10_000_000


def test_a_template_for_tools_is_taken_where_there_are_any(tmp_path: Path) -> None:
    templates = [{"name": "tool_use", "template": "{{ tools|length }} tools"}, {"name": "default", "template": "none"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
    template = ChatTemplate.load(tmp_path, None)
    assert template is not None
    assert template.takes_tools
    assert template.render(chat(user("x"))) == "none"
    assert template.render(chat(user("x"), tools=({"type": "function"},))) == "1 tools"
    assert template.source == "{{ tools|length }} tools\nnone"


def test_templates_in_files_go_before_those_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "configuration"}))
    (tmp_path / "chat_template.jinja").write_text("file")
    further = tmp_path / "additional_chat_templates"
    further.mkdir()
    (further / "tool_use.jinja").write_text("{{ tools[0].type }}")
    (further / "rag.jinja").write_text("{{ documents }}")
    template = ChatTemplate.load(tmp_path, None)
    assert template is not None
    assert template.render(chat(user("x"))) == "file"
    assert template.render(chat(user("x"), tools=({"type": "function"},))) == "function"


def test_named_templates_without_a_default_are_refused(tmp_path: Path) -> None:
    templates = [{"name": "tool_use", "template": ""}, {"name": "rag", "template": ""}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
    with pytest.raises(ChatTemplateLoadError, match="tool_use, rag, but none named default"):
        ChatTemplate.load(tmp_path, None)


@pytest.mark.parametrize("marks_own", [False, True])
def test_templates_may_use_what_transformers_gives_them(marks_own: bool) -> None:
    source = (
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{% generation %}{{ m.content }}"
        "{% endgeneration %}{% break %}{% endfor %}"
        "{{ {'b': 'ä', 'a': 1} | tojson(sort_keys=true, ensure_ascii=true, separators=(',', ':')) }}"
    )
    turns = (user("x"), user("y"), user("z"))
    text = ChatTemplate(source, {}, marks_own).render(chat(*turns))
    messages = [{"role": each.role, "content": each.content} for each in turns]
    expected = render_jinja_template([messages], chat_template=source)[0][0]
    assert text == expected == 'y{"a":1,"b":"\\u00e4"}'


def test_broken_templates_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ChatTemplateLoadError, match="not valid Jinja"):
        ChatTemplate("{% if %}", {})
    with pytest.raises(ChatTemplateLoadError, match="there is no chat template"):
        ChatTemplate.load(tmp_path, tmp_path / "missing.jinja")
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ChatTemplateLoadError, match="not valid JSON"):
        ChatTemplate.load(tmp_path, None)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer_config.json", "[" * 200_000, "is not valid JSON: maximum recursion"),
        ("tokenizer_config.json", '[["bos_token", "<s>"]]', "does not hold a JSON object"),
        ("special_tokens_map.json", '"text"', "does not hold a JSON object"),
        ("tokenizer_config.json", '{"chat_template": 5}', "as a text, or as texts with names"),
        ("tokenizer_config.json", '{"chat_template": [1]}', "as a text, or as texts with names"),
        ("tokenizer_config.json", '{"chat_template": [{"name": "default"}]}', "as a text, or as texts"),
        ("tokenizer_config.json", '{"chat_template": {"default": null}}', "as a text, or as texts"),
        ("chat_template.jinja", "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}", "is not valid Jinja"),
        ("chat_template.jinja", "x" * (1 << 20) + "y", "has 1048577 characters, more than 1048576"),
    ],
)
def test_files_of_other_types_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ChatTemplateLoadError, match=message):
        ChatTemplate.load(tmp_path, None)


def test_special_tokens_of_other_types_are_none(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": {"x": 1}, "eos_token": ["</s>"], "pad_token": {"content": "<pad>"}})
    )
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}{{ eos_token }}{{ pad_token }}")
    template = ChatTemplate.load(tmp_path, None)
    assert template is not None
    assert template.render(chat(Message("user", "hi", {}))) == "<pad>"
