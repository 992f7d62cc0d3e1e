from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

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


def test_broken_templates_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ChatTemplateLoadError, match="not valid Jinja"):
        ChatTemplate("{% if %}", {})
    with pytest.raises(ChatTemplateLoadError, match="there is no chat template"):
        ChatTemplate.load(tmp_path, tmp_path / "missing.jinja")
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ChatTemplateLoadError, match="not valid JSON"):
        ChatTemplate.load(tmp_path, None)
