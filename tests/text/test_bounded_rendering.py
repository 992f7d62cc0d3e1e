"""Templates that come with requests, also hostile ones."""

from __future__ import annotations

from typing import Any

import pytest

from portico.core.errors import InvalidParameter
from portico.core.request import ChatPrompt, Message
from portico.text.bounded_rendering import render_bounded


def prompt(template: str, **arguments: Any) -> ChatPrompt:
    return ChatPrompt((Message("user", "你好", {"name": "a"}),), True, False, arguments, template, False)


def test_a_template_of_the_client_is_rendered_like_any() -> None:
    source = "{{ bos_token }}{{ messages[0].name }}: {{ messages[0].content }}{{ tone }}{{ add_generation_prompt }}"
    assert render_bounded(prompt(source, tone="!"), {"bos_token": "<s>"}) == "<s>a: 你好!True"


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("{% for %}", "chat_template", "not valid Jinja"),
        ("{{ raise_exception('no') }}", "messages", "refuses these messages: no"),
        ("{{ ''.__class__.__mro__ }}", "messages", "refuses"),
        ("{% set n = 'x' * 5000000 %}{{ n }}", "chat_template", "more than 4000000 characters"),
        ("{{ 'x' * 99999999999 }}", "messages", "more than 16777216 characters"),
        ("{{ range(99999) | list | tojson(indent=999) }}", "messages", "more than 16777216 characters"),
    ],
)
def test_a_broken_or_hostile_template_is_the_clients_error(source: str, name: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message) as caught:
        render_bounded(prompt(source), {})
    assert caught.value.name == name


def test_a_template_that_takes_too_long_is_given_up() -> None:
    """By itself, or by the system where it does not look at the clock for too long."""
    source = "{% set n = range(99999) | list %}{{ n | select('in', n) | list }}"
    with pytest.raises(InvalidParameter, match=r"more than 2 seconds|too much time or memory"):
        render_bounded(prompt(source), {})
