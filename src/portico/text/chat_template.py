"""Conversations to prompts, by the checkpoint's own Jinja template in a sandbox."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from portico.core.errors import InvalidParameter
from portico.core.request import Message


class ChatTemplateLoadError(Exception):
    """A template cannot be read; the message is one sentence for the operator."""


class ChatTemplate:
    """A compiled template; `special_tokens` are the names it may use, such as `eos_token`."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _format_now
        self._special_tokens = dict(special_tokens)
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise ChatTemplateLoadError(f"the chat template is not valid Jinja: {error}") from error

    @classmethod
    def load(cls, checkpoint: Path, override: Path | None) -> ChatTemplate | None:
        """The template in `override`, in chat_template.jinja or in tokenizer_config.json, or None if there is none.

        Raises:
            ChatTemplateLoadError: a file is missing or broken.
        """
        config = _read_tokenizer_config(checkpoint)
        special_tokens = {name: _content(config[name]) for name in config if name.endswith("_token") and config[name]}
        path = override or checkpoint / "chat_template.jinja"
        if override is not None and not override.is_file():
            raise ChatTemplateLoadError(f"there is no chat template {override}")
        if path.is_file():
            return cls(path.read_text(encoding="utf-8"), special_tokens)
        source = config.get("chat_template")
        if isinstance(source, list):
            source = {each["name"]: each["template"] for each in source}.get("default")
        return None if source is None else cls(source, special_tokens)

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt of a conversation, ready for the assistant's turn.

        Raises:
            InvalidParameter: the template refuses the conversation.
        """
        turns = [{"role": message.role, "content": message.content, **message.extra} for message in messages]
        try:
            return self._template.render(messages=turns, add_generation_prompt=True, **self._special_tokens)
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            message = f"The model's chat template refuses these messages: {error}."
            raise InvalidParameter("messages", message) from error


def _read_tokenizer_config(checkpoint: Path) -> dict[str, Any]:
    path = checkpoint / "tokenizer_config.json"
    if not path.is_file():
        return {}
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ChatTemplateLoadError(f"{path} is not valid JSON: {error}") from error
    return config


def _content(token: str | Mapping[str, str]) -> str:
    return token if isinstance(token, str) else token["content"]


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _format_now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)
