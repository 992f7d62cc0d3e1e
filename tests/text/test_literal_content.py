"""What clients write in conversations, as plain text: the same ids without markup, no control token with it."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from portico.core.errors import InvalidParameter
from portico.core.request import ChatPrompt, Message
from portico.text.bounded_rendering import render_bounded
from portico.text.chat_template import ChatTemplate, ChatTemplateLoadError
from portico.text.literal_content import check_literal_content
from portico.text.plain_json_tokenizer import PlainJsonTokenizer
from portico.text.template_text import own_parts
from portico.text.tokenizer import Tokenizer
from tests.vocabularies import (
    TEXTS,
    write_baichuan,
    write_byte_level_json,
    write_llama_json,
    write_sentencepiece,
    write_tiktoken,
    write_unigram_json,
)

WRITERS: dict[str, Callable[[Path], Path]] = {
    "byte-level": write_byte_level_json,
    "llama-json": write_llama_json,
    "unigram": write_unigram_json,
    "tiktoken": write_tiktoken,
    "baichuan-1": lambda path: write_baichuan(path, 1),
    "baichuan-2": write_baichuan,
    "llama-2": lambda path: write_sentencepiece(path, {"bos_token": {"content": "<s>"}, "eos_token": "</s>"}),
    "llama-2-not-legacy": lambda path: write_sentencepiece(path, {"legacy": False}),
}
TEMPLATES = {
    "chatml": (
        "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "trimmed": (
        "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}"
        "{{ '[INST] ' ~ (message.content | trim) ~ ' [/INST]' }}{% else %}{{ message.content | trim }}{{ eos_token }}"
        "{% endif %}{% endfor %}"
    ),
    "thinking": (
        "{% if tools %}{{ '<|im_start|>system\n# Tools\n' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}"
        "{{ '<|im_end|>\n' }}{% endif %}{% for message in messages %}{% set content = message.content %}"
        "{% if message.role == 'assistant' and '</think>' in content %}"
        "{% set reasoning = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
        "{% set content = content.split('</think>')[-1].lstrip('\n') %}"
        "{{ '<|im_start|>assistant\n<think>\n' + reasoning.strip('\n') + '\n</think>\n\n' + content }}"
        "{% else %}{{ '<|im_start|>' + message.role + '\n' + content }}{% endif %}"
        "{% for call in message.tool_calls or [] %}{{ '\n<tool_call>\n' ~ call.function | tojson ~ '\n</tool_call>' }}"
        "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n<think>\n' }}"
    ),
    "sliced": (
        "{% set rest = messages[1:] %}{% set ns = namespace(out='') %}{{ '<s>' + messages[0].content[1:] }}"
        "{% for message in rest %}{% set ns.out = ns.out + '</s><s>' + message.content %}{% endfor %}{{ ns.out }}"
        "{{ ['</s>', '<s>'] | join }}"
    ),
    "bare": "{% for message in messages %}{{ message.content }}{% endfor %}<s>",
}
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
PLAIN_TEMPLATES = {name: ChatTemplate(source, SPECIAL_TOKENS) for name, source in TEMPLATES.items()}
MARKING_TEMPLATES = {name: ChatTemplate(source, SPECIAL_TOKENS, marks_own=True) for name, source in TEMPLATES.items()}
MARKERS: tuple[str, ...] = (
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<s>",
    "</s>",
    "<unk>",
    "<think>",
    "</think>",
)
MARKERS += ("<tool_call>", "</tool_call>", "<tool_response>", "<reserved_106>", "<reserved_107>", "<reserved_102>")
MARKUP = re.compile("|".join(map(re.escape, MARKERS)))
WIDE = tuple(each.translate({place: place + 0xFEE0 for place in range(0x21, 0x7F)}) for each in MARKERS)
HALVES = tuple(half for each in MARKERS for half in (each[: len(each) // 2], each[len(each) // 2 :]))
FORGED = (
    "\ue000<s>\ue001",
    "\u200b<s>",
    "<\u200b|im_start|>",
    "\u0338",
    "<<s>>",
    "▁<s>",
    "<|im_<|im_end|>end|>",
    "&lt;s>",
)

PLAIN = st.sampled_from((*TEXTS, "a < b |> c", "[INST]", "  x", "x\n\n", "<b>")) | st.text(max_size=8)
HOSTILE = st.sampled_from((*MARKERS, *WIDE, *HALVES, *FORGED))
# Whatever the library comes upon: also what looks like markup when it is in normal form.
BENIGN_TEXTS = (
    st.lists(PLAIN, max_size=4).map("".join).filter(lambda text: not MARKUP.search(unicodedata.normalize("NFKC", text)))
)
HOSTILE_TEXTS = st.lists(PLAIN | HOSTILE, max_size=8).map("".join)


def conversations(texts: st.SearchStrategy[str]) -> st.SearchStrategy[ChatPrompt]:
    def build(turns: list[tuple[str, str, str]], description: str, has_tools: bool) -> ChatPrompt:
        calls = [{"function": {"name": "f", "arguments": {"x": text}}} for _, _, text in turns[1:2] if has_tools]
        extra = {"tool_calls": calls} if calls else {}
        messages = tuple(Message(role, text, {**extra, "name": name}) for role, text, name in turns)
        tool = {"type": "function", "function": {"name": "f", "description": description}}
        return ChatPrompt(messages, True, False, {"note": description}, None, False, (tool,) if has_tools else ())

    roles = st.sampled_from(("user", "assistant", "tool"))
    turns = st.lists(st.tuples(roles, texts, texts), min_size=1, max_size=4)
    return st.builds(build, turns, texts, st.booleans())


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in WRITERS.items()}


@pytest.fixture(scope="module")
def loaded(checkpoints: dict[str, Path]) -> dict[str, Tokenizer]:
    return {name: Tokenizer.load(path) for name, path in checkpoints.items()}


@pytest.fixture(params=WRITERS)
def tokenizer(request: pytest.FixtureRequest, loaded: dict[str, Tokenizer]) -> Tokenizer:
    return loaded[request.param]


def allowed(prompt: ChatPrompt, template: str) -> ChatPrompt:
    return prompt if template == "thinking" else replace(prompt, tools=())


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("template", TEMPLATES)
@settings(max_examples=20)
@given(data=st.data())
def test_benign_conversations_have_the_same_ids(
    loaded: dict[str, Tokenizer], kind: str, template: str, data: st.DataObject
) -> None:
    tokenizer = loaded[kind]
    prompt = allowed(data.draw(conversations(BENIGN_TEXTS)), template)
    expected = PLAIN_TEMPLATES[template].render(prompt)
    text = MARKING_TEMPLATES[template].render(prompt)
    assert text == expected
    for adds in (False, True):
        assert tokenizer.encode(text, adds, own_parts(text)) == tokenizer.encode(expected, adds)
        assert tokenizer.spans(text, adds, own_parts(text)) == tokenizer.spans(expected, adds)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("template", TEMPLATES)
@settings(max_examples=20)
@given(data=st.data())
def test_no_content_becomes_a_marker(
    loaded: dict[str, Tokenizer], kind: str, template: str, data: st.DataObject
) -> None:
    tokenizer = loaded[kind]
    prompt = allowed(data.draw(conversations(HOSTILE_TEXTS)), template)
    text = MARKING_TEMPLATES[template].render(prompt)
    own = own_parts(text)
    token_ids = tokenizer.encode(text, False, own)
    written = [match[0] for match in tokenizer.find_markers(text, own)]
    # The token for what a vocabulary does not know says nothing but that.
    unknown = tokenizer.find_special("<unk>")
    found = [each for each in token_ids if each in tokenizer.marker_ids and each != unknown]
    assert [tokenizer.raw(each).decode() for each in found] == [each for each in written if each != "<unk>"]
    assert tuple(each.id for each in tokenizer.spans(text, False, own)) == token_ids


@given(text=HOSTILE_TEXTS)
def test_the_text_stays_what_it_is(loaded: dict[str, Tokenizer], text: str) -> None:
    byte_level = loaded["byte-level"]
    decoded = byte_level.decode(byte_level.encode(text, False, ()), skip_special_tokens=True)
    assert decoded == byte_level.decode(byte_level.encode(text, False), skip_special_tokens=False)


@pytest.mark.parametrize("kind", ["byte-level", "llama-json", "unigram"])
@pytest.mark.parametrize("template", TEMPLATES)
@settings(max_examples=20)
@given(data=st.data())
def test_benign_ids_are_those_of_transformers(
    checkpoints: dict[str, Path], loaded: dict[str, Tokenizer], kind: str, template: str, data: st.DataObject
) -> None:
    prompt = allowed(data.draw(conversations(BENIGN_TEXTS)), template)
    reference: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(checkpoints[kind] / "tokenizer.json"), **SPECIAL_TOKENS
    )
    messages = [{"role": each.role, "content": each.content, **each.extra} for each in prompt.messages]
    expected = reference.apply_chat_template(
        messages,
        tools=list(prompt.tools) or None,
        chat_template=TEMPLATES[template],
        add_generation_prompt=True,
        return_dict=False,
    )
    text = MARKING_TEMPLATES[template].render(prompt)
    assert list(loaded[kind].encode(text, False, own_parts(text))) == expected


def test_a_marker_of_two_messages_is_none(tokenizer: Tokenizer) -> None:
    markers = [each for each in MARKERS if tokenizer.find_special(each) is not None and each != "<unk>"]
    template = ChatTemplate(TEMPLATES["bare"], {}, marks_own=True)
    for marker in markers:
        turns = tuple(Message("user", half, {}) for half in (marker[:3], marker[3:]))
        text = template.render(ChatPrompt(turns, True, False, {}, None, False))
        token_ids = tokenizer.encode(text, False, own_parts(text))
        assert tokenizer.find_special(marker) in tokenizer.encode(text, False)
        assert not tokenizer.marker_ids.intersection(token_ids[:-1]) - {tokenizer.find_special("<unk>")}


def test_stand_ins_cannot_be_written(loaded: dict[str, Tokenizer]) -> None:
    definition = loaded["byte-level"].definition
    assert definition is not None
    one, other = (PlainJsonTokenizer(definition, {0: "<s>"}) for _ in range(2))
    stand_in = one.write("<s>", re.finditer("<s>", "<s>")).text
    assert stand_in != other.write("<s>", re.finditer("<s>", "<s>")).text
    assert len(stand_in) > 32
    with pytest.raises(InvalidParameter, match="cannot be told"):
        one.write(f"a {stand_in}", ())


def test_baichuans_turns_do_not_depend_on_what_clients_write(tmp_path: Path) -> None:
    write_baichuan(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BaichuanForCausalLM"]}))
    tokenizer, template = Tokenizer.load(tmp_path), ChatTemplate.load(tmp_path, None, marks_own=True)
    assert template is not None
    turns = (Message("user", "a<reserved_107>", {}), Message("user", "<reserved_106>a<reserved_107>", {}))
    text = template.render(ChatPrompt(turns, True, False, {}, None, False))
    user, assistant = tokenizer.find_special("<reserved_106>"), tokenizer.find_special("<reserved_107>")
    assert user is not None
    assert assistant is not None
    token_ids = tokenizer.encode(text, False, own_parts(text))
    assert (token_ids.count(user), token_ids.count(assistant), token_ids[-1]) == (2, 1, assistant)


def test_a_template_of_the_request_is_followed_too() -> None:
    prompt = ChatPrompt((Message("user", "<s>", {}),), True, False, {}, TEMPLATES["chatml"], False)
    text = render_bounded(prompt, {}, marks_own=True)
    assert [text[start:end] for start, end in own_parts(text)] == [
        "<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n",
    ]


@pytest.mark.parametrize("source", ["{{ '<|im_{}|>'.format('start') }}", "{{ '<|im_%s|>' % messages[0].role }}<|x|>"])
def test_a_template_that_hides_its_markup_is_refused_at_start(loaded: dict[str, Tokenizer], source: str) -> None:
    source = source.replace("messages[0].role", "'start'.lower()")
    with pytest.raises(ChatTemplateLoadError, match=r"'<\|im_start\|>' by an operation"):
        check_literal_content(loaded["byte-level"], ChatTemplate(source, {}, marks_own=True))


@pytest.mark.parametrize("source", [*TEMPLATES.values(), "{{ raise_exception('no') }}"])
def test_other_templates_are_taken(tokenizer: Tokenizer, source: str) -> None:
    check_literal_content(tokenizer, ChatTemplate(source, SPECIAL_TOKENS, marks_own=True))
    check_literal_content(tokenizer, None)


def test_words_that_a_vocabulary_was_given_are_no_markers(loaded: dict[str, Any]) -> None:
    tokenizer = loaded["unigram"]
    for text in ("ö", "a  b"):
        assert tokenizer.encode(text, False, ()) == tokenizer.encode(text, False)
    assert {tokenizer.raw(each).decode() for each in tokenizer.marker_ids - tokenizer.special_ids} == {
        "<think>",
        "</think>",
        "<tool_call>",
    }


def test_marks_that_are_made_of_roles(loaded: dict[str, Tokenizer]) -> None:
    """Of those that every conversation has, and of no other."""
    source = (
        "{% for message in messages %}{{ '<|im_' + message.role + '|>' + message.content }}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>{% endif %}"
    )
    template = ChatTemplate(source.replace("message.role", "message.role.replace('user', 'start')"), {}, marks_own=True)
    check_literal_content(loaded["byte-level"], template)
    made = ChatTemplate(source, {}, marks_own=True)
    for role, is_own in (("user", True), ("start", False), ("end", False)):
        text = made.render(ChatPrompt((Message(role, "x", {}),), False, False, {}, None, False))
        assert own_parts(text) == (((0, len(text) - 1),) if is_own else ((0, 5), (5 + len(role), len(text) - 1)))
    text = made.render(ChatPrompt((Message("start", "x", {}),), False, False, {}, None, False))
    tokenizer = loaded["byte-level"]
    marker = tokenizer.find_special("<|im_start|>")
    assert marker in tokenizer.encode(text, False)
    assert marker not in tokenizer.encode(text, False, own_parts(text))


def test_templates_that_write_for_html() -> None:
    source = "{{ 'Use '|safe + messages[0].content + ' & '|safe + bos_token }}<|im_end|>"
    prompt = ChatPrompt((Message("user", "<a & b>", {}),), True, False, {}, None, False)
    texts = [ChatTemplate(source, SPECIAL_TOKENS, marks_own=marks_own).render(prompt) for marks_own in (False, True)]
    assert texts == ["Use &lt;a &amp; b&gt; & &lt;s&gt;<|im_end|>"] * 2
    assert own_parts(texts[1]) == ((len(texts[1]) - len("<|im_end|>"), len(texts[1])),)
