"""The built-in chat templates against the functions of the models' own code, with their tokenizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from portico.core.errors import InvalidParameter
from portico.core.request import ChatPrompt, Message
from portico.text.chat_template import ChatTemplate
from portico.text.family_templates import family_template
from portico.text.tokenizer import Tokenizer
from tests.vocabularies import write_baichuan

SYSTEM, USER, ASSISTANT = (("system", "你是一个有用的助手."), ("user", "如何养生？"), ("assistant", "多运动。"))
CONVERSATIONS = [
    [USER],
    [SYSTEM, USER],
    [USER, ASSISTANT, ("user", " and  then?")],
    [SYSTEM, USER, ASSISTANT, USER, ASSISTANT, USER],
    [SYSTEM, USER, ASSISTANT],
]


def template(path: Path, **config: Any) -> ChatTemplate:
    (path / "config.json").write_text(json.dumps(config))
    found = ChatTemplate.load(path, None)
    assert found is not None
    return found


def chat(conversation: list[tuple[str, str]], add_generation_prompt: bool = True) -> ChatPrompt:
    messages = tuple(Message(role, content, {}) for role, content in conversation)
    return ChatPrompt(messages, add_generation_prompt, False, {}, None, False)


def make_context(conversation: list[tuple[str, str]]) -> str:
    """The raw text that Qwen's own function builds of a system message, the history and a query."""
    has_system = conversation[0][0] == "system"
    system = conversation[0][1] if has_system else "You are a helpful assistant."
    turns = conversation[1:] if has_system else conversation
    text = f"<|im_start|>system\n{system}<|im_end|>"
    for role, content in turns:
        text += f"\n<|im_start|>{role}\n{content}<|im_end|>"
    return text + "\n<|im_start|>assistant\n"


def build_chat_input(model: Any, conversation: list[tuple[str, str]]) -> list[int]:
    """The ids that Baichuan's own function builds, with the tokens of its generation_config.json."""
    user_token_id, assistant_token_id = 195, 196
    token_ids: list[int] = []
    for role, content in conversation:
        if role != "system":
            token_ids.append(user_token_id if role == "user" else assistant_token_id)
        token_ids += model.encode(content)
    return token_ids if conversation[-1][0] == "assistant" else [*token_ids, assistant_token_id]


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_qwen_v1_writes_chatml(tmp_path: Path, conversation: list[tuple[str, str]]) -> None:
    found = template(tmp_path, architectures=["QWenLMHeadModel"])
    assert found.render(chat(conversation)) == make_context(conversation)
    assert found.render(chat(conversation, add_generation_prompt=False)).endswith("<|im_end|>\n")


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_baichuan_writes_reserved_tokens(tmp_path: Path, generation: int, conversation: list[tuple[str, str]]) -> None:
    write_baichuan(tmp_path, generation)
    found = template(tmp_path, architectures=["BaichuanForCausalLM"], vocab_size=64_000 if generation == 1 else 125_696)
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    token_ids = Tokenizer.load(tmp_path).encode(found.render(chat(conversation)), add_special_tokens=False)
    assert list(token_ids) == build_chat_input(model, conversation)


def test_control_tokens_that_a_user_has_written_are_not_written_again(tmp_path: Path) -> None:
    text = "<reserved_106>光的三原色是什么<reserved_107>"
    write_baichuan(tmp_path)
    found = template(tmp_path, architectures=["BaichuanForCausalLM"])
    assert found.render(chat([("user", text)])) == text
    token_ids = Tokenizer.load(tmp_path).encode(text, add_special_tokens=False)
    assert (token_ids[0], token_ids[-1]) == (195, 196)


@pytest.mark.parametrize(
    ("conversation", "message"), [([USER, SYSTEM], "only the first message"), ([("tool", "x")], "the roles are")]
)
def test_baichuan_refuses_what_it_was_not_trained_for(
    tmp_path: Path, conversation: list[tuple[str, str]], message: str
) -> None:
    found = template(tmp_path, architectures=["BaichuanForCausalLM"])
    with pytest.raises(InvalidParameter, match=message):
        found.render(chat(conversation))


def test_the_first_baichuan_7b_has_its_own_name(tmp_path: Path) -> None:
    found = template(tmp_path, architectures=["BaiChuanForCausalLM"])
    assert found.render(chat([USER])) == "<reserved_102>如何养生？<reserved_103>"


def test_the_checkpoints_own_template_comes_first(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "own"}))
    assert template(tmp_path, architectures=["QWenLMHeadModel"]).render(chat([USER])) == "own"


@pytest.mark.parametrize("content", ["{", "[]", '{"architectures": 3}', '{"architectures": ["LlamaForCausalLM"]}'])
def test_other_checkpoints_have_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    assert family_template(tmp_path) is None
    assert ChatTemplate.load(tmp_path, None) is None
