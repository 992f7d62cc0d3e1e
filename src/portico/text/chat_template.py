"""Conversations to prompts, by the checkpoint's own Jinja template, or its family's, in a sandbox."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import meta
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from portico.core.errors import InvalidParameter, UnsupportedParameter
from portico.core.request import ChatPrompt
from portico.text.family_templates import family_template
from portico.text.template_text import MarkingEnvironment, TemplateText

# Variables of every template that a client's arguments must not replace.
_RESERVED = frozenset(
    ("messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "chat_template", "tokenize")
)
# Stands behind the content of a message that is to be continued, so that the prompt can be cut there.
_MARK = "\ue000continue\ue000"


class ChatTemplateLoadError(Exception):
    """A template cannot be read; the message is one sentence for the operator."""


class ChatTemplate:
    """A compiled template.

    Attributes:
        source: what it was compiled from.
        special_tokens: the names it may use, such as `eos_token`.
        takes_tools: whether it reads descriptions of tools at all.
        marks_own: prompts are `TemplateText` that knows what the template wrote by itself.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str], marks_own: bool = False) -> None:
        environment_class = MarkingEnvironment if marks_own else ImmutableSandboxedEnvironment
        environment = environment_class(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _format_now
        self.source = source
        self.special_tokens: Mapping[str, str] = dict(special_tokens)
        self.marks_own = marks_own
        own_tokens = {name: TemplateText.of_template(text) for name, text in special_tokens.items()}
        self._constants = {**(own_tokens if marks_own else special_tokens), "content_is_literal": marks_own}
        self._reserved = _RESERVED | environment.globals.keys() | self._constants.keys()
        try:
            self._template = environment.from_string(source)
            self.takes_tools = "tools" in meta.find_undeclared_variables(environment.parse(source))
        except jinja2.TemplateError as error:
            raise ChatTemplateLoadError(f"the chat template is not valid Jinja: {error}") from error

    @classmethod
    def load(cls, checkpoint: Path, override: Path | None, marks_own: bool = False) -> ChatTemplate | None:
        """The template in `override`, in chat_template.jinja, in tokenizer_config.json, or that of the family.

        None if there is none of them.

        Raises:
            ChatTemplateLoadError: a file is missing or broken.
        """
        config = _read_tokenizer_config(checkpoint)
        special_tokens = _special_tokens(config)
        path = override or checkpoint / "chat_template.jinja"
        if override is not None and not override.is_file():
            raise ChatTemplateLoadError(f"there is no chat template {override}")
        if path.is_file():
            return cls(path.read_text(encoding="utf-8"), special_tokens, marks_own)
        source = config.get("chat_template")
        if isinstance(source, list):
            source = {each["name"]: each["template"] for each in source}.get("default")
        source = source or family_template(checkpoint)
        return None if source is None else cls(source, special_tokens, marks_own)

    def render(self, prompt: ChatPrompt) -> str:
        """The prompt of a conversation.

        Raises:
            UnsupportedParameter: tools, and the template writes none.
            InvalidParameter: the template refuses the conversation, an argument has a name that is taken, or the
                content of a message to be continued is not in the prompt.
        """
        if prompt.tools and not self.takes_tools:
            raise UnsupportedParameter("tools", "`tools` cannot be used: the model's chat template does not take any.")
        taken = sorted(self._reserved & prompt.template_arguments.keys())
        if taken:
            raise InvalidParameter("chat_template_kwargs", f"`chat_template_kwargs` cannot set `{taken[0]}`.")
        turns = [{"role": message.role, "content": message.content, **message.extra} for message in prompt.messages]
        if prompt.continue_final_message:
            turns[-1]["content"] += _MARK
        variables = {**self._constants, **prompt.template_arguments}
        try:
            text = self._template.render(
                messages=turns,
                tools=list(prompt.tools) or None,
                add_generation_prompt=prompt.add_generation_prompt,
                continue_final_message=prompt.continue_final_message,
                **variables,
            )
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            message = f"The model's chat template refuses these messages: {error}."
            raise InvalidParameter("messages", message) from error
        return _cut(text) if prompt.continue_final_message else text


def _cut(text: str) -> str:
    before, mark, _ = text.rpartition(_MARK)
    if not mark:
        raise InvalidParameter(
            "continue_final_message",
            "The final message cannot be continued: the model's chat template does not write its content as it is.",
        )
    return before


def _read_tokenizer_config(checkpoint: Path) -> dict[str, Any]:
    """The content of tokenizer_config.json, with what special_tokens_map.json has besides."""
    config: dict[str, Any] = {}
    for path in (checkpoint / "special_tokens_map.json", checkpoint / "tokenizer_config.json"):
        try:
            config |= json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except (ValueError, TypeError) as error:
            raise ChatTemplateLoadError(f"{path} is not valid JSON: {error}") from error
    return config


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Tokens by their names; beside them there are switches such as `add_bos_token`."""
    tokens = {name: value for name, value in config.items() if name.endswith("_token")}
    texts = {name: value["content"] if isinstance(value, dict) else value for name, value in tokens.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str) and text}


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _format_now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)
