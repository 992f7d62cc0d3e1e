"""Conversations to prompts, by the checkpoint's own Jinja template, or its family's, in a sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import meta

from portico.core.errors import InvalidParameter, UnsupportedParameter
from portico.core.request import ChatPrompt
from portico.text.family_templates import family_template
from portico.text.template_environment import TemplateEnvironment
from portico.text.template_text import MarkingEnvironment, TemplateText

# Variables of every template that a client's arguments must not replace.
_RESERVED = frozenset(
    ("messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "chat_template", "tokenize")
)
# Stands behind the content of a message that is to be continued, so that the prompt can be cut there.
_MARK = "\ue000continue\ue000"
_ROLES = frozenset(("system", "user", "assistant", "tool"))
# The engine of templates looks at each of them several times.
_MAX_ARGUMENTS = 256
# Characters of what a template refuses a conversation with.
_MAX_REASON = 1000
# Characters of a template; compiling ten million takes minutes.
_MAX_SOURCE = 1 << 20
_DEFAULT, _FOR_TOOLS = "default", "tool_use"
# What a template runs into with a conversation that it is not made for.
_FAILURES = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    LookupError,
    RecursionError,
    MemoryError,
)


class ChatTemplateLoadError(Exception):
    """A template cannot be read; the message is one sentence for the operator."""


class ChatTemplate:
    """The compiled template of a model, or several by their names, of which `tool_use` is for requests with tools.

    Attributes:
        source: what was compiled.
        special_tokens: the names it may use, such as `eos_token`.
        takes_tools: whether it reads descriptions of tools at all.
        marks_own: prompts are `TemplateText` that knows what the template wrote by itself.
    """

    def __init__(
        self, sources: str | Mapping[str, str], special_tokens: Mapping[str, str], marks_own: bool = False
    ) -> None:
        named = {_DEFAULT: sources} if isinstance(sources, str) else sources
        self._environment = MarkingEnvironment() if marks_own else TemplateEnvironment()
        self.source = "\n".join(named.values())
        self.special_tokens: Mapping[str, str] = dict(special_tokens)
        self.marks_own = marks_own
        own_tokens = {name: TemplateText.of_template(text) for name, text in special_tokens.items()}
        self._constants = {**(own_tokens if marks_own else special_tokens), "content_is_literal": marks_own}
        self._reserved = _RESERVED | self._environment.globals.keys() | self._constants.keys()
        if _DEFAULT not in named:
            raise ChatTemplateLoadError(f"there are chat templates {', '.join(named)}, but none named {_DEFAULT}")
        self._default = self._compile(named[_DEFAULT])
        self._for_tools = self._compile(named[_FOR_TOOLS]) if _FOR_TOOLS in named else self._default
        self.takes_tools = "tools" in self._variables(named.get(_FOR_TOOLS, named[_DEFAULT]))

    @classmethod
    def load(cls, checkpoint: Path, override: Path | None, marks_own: bool = False) -> ChatTemplate | None:
        """The template in `override`, in chat_template.jinja, in tokenizer_config.json, or that of the family.

        In files beside chat_template.jinja and in tokenizer_config.json there may be several. None if there is none.

        Raises:
            ChatTemplateLoadError: a file is missing or broken.
        """
        config = read_tokenizer_config(checkpoint)
        special_tokens = read_special_tokens(config)
        if override is not None:
            if not override.is_file():
                raise ChatTemplateLoadError(f"there is no chat template {override}")
            return cls(_read_template(override), special_tokens, marks_own)
        sources = _read_templates(checkpoint) or _named(config.get("chat_template")) or family_template(checkpoint)
        return None if sources is None else cls(sources, special_tokens, marks_own)

    def _compile(self, source: str) -> jinja2.Template:
        if len(source) > _MAX_SOURCE:
            raise ChatTemplateLoadError(f"the chat template has {len(source)} characters, more than {_MAX_SOURCE}")
        try:
            return self._environment.from_string(source)
        except (jinja2.TemplateError, RecursionError) as error:
            raise ChatTemplateLoadError(f"the chat template is not valid Jinja: {error}") from error

    def _variables(self, source: str) -> set[str]:
        return meta.find_undeclared_variables(self._environment.parse(source))

    def render(self, prompt: ChatPrompt) -> str:
        """The prompt of a conversation.

        Raises:
            UnsupportedParameter: tools, and the template writes none.
            InvalidParameter: the template refuses the conversation or takes too long for it, there are too many
                arguments, one has a name that is taken, or the content of a message to be continued is not in the
                prompt.
        """
        if prompt.tools and not self.takes_tools:
            raise UnsupportedParameter("tools", "`tools` cannot be used: the model's chat template does not take any.")
        num_arguments = len(prompt.template_arguments)
        if num_arguments > _MAX_ARGUMENTS:
            raise InvalidParameter(
                "chat_template_kwargs",
                f"`chat_template_kwargs` can have at most {_MAX_ARGUMENTS} names, got {num_arguments}.",
            )
        taken = sorted(self._reserved & prompt.template_arguments.keys())
        if taken:
            raise InvalidParameter("chat_template_kwargs", f"`chat_template_kwargs` cannot set `{taken[0]}`.")
        turns = [
            {"role": self._role(message.role), "content": message.content, **message.extra}
            for message in prompt.messages
        ]
        if prompt.continue_final_message:
            turns[-1]["content"] += _MARK
        variables = {**self._constants, **prompt.template_arguments}
        template = self._for_tools if prompt.tools else self._default
        self._environment.meter.start()
        try:
            text = template.render(
                messages=turns,
                tools=list(prompt.tools) or None,
                add_generation_prompt=prompt.add_generation_prompt,
                continue_final_message=prompt.continue_final_message,
                **variables,
            )
        except _FAILURES as error:
            reason = str(error)[:_MAX_REASON]
            raise InvalidParameter(
                "messages", f"The model's chat template refuses these messages: {reason}."
            ) from error
        finally:
            self._environment.meter.stop()
        return _cut(text) if prompt.continue_final_message else text

    def _role(self, role: str) -> str:
        """Some templates make the mark of a turn of its role; one that any conversation has is as good as their own."""
        return TemplateText.of_template(role) if self.marks_own and role in _ROLES else role


def _cut(text: str) -> str:
    before, mark, _ = text.rpartition(_MARK)
    if not mark:
        raise InvalidParameter(
            "continue_final_message",
            "The final message cannot be continued: the model's chat template does not write its content as it is.",
        )
    return before


def _named(given: Any) -> str | dict[str, str] | None:
    """The templates of tokenizer_config.json, one or several with their names.

    Raises:
        ChatTemplateLoadError: they are neither.
    """
    if given is None or isinstance(given, str):
        return given
    try:
        named = dict(given) if isinstance(given, dict) else {each["name"]: each["template"] for each in given}
    except (TypeError, LookupError):
        named = {"": None}
    if not all(isinstance(each, str) for each in (*named, *named.values())):
        raise ChatTemplateLoadError(
            "tokenizer_config.json must give the chat template as a text, or as texts with names"
        )
    return named


def _read_templates(checkpoint: Path) -> dict[str, str]:
    """The templates that a checkpoint has in files of their own."""
    further = (checkpoint / "additional_chat_templates").glob("*.jinja")
    paths = {path.stem: path for path in sorted(further)} | {_DEFAULT: checkpoint / "chat_template.jinja"}
    return {name: _read_template(path) for name, path in paths.items() if path.is_file()}


def _read_template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ChatTemplateLoadError(f"the chat template {path} cannot be read: {error}") from error


def read_tokenizer_config(checkpoint: Path) -> dict[str, Any]:
    """The content of tokenizer_config.json, with what special_tokens_map.json has besides."""
    config: dict[str, Any] = {}
    for path in (checkpoint / "special_tokens_map.json", checkpoint / "tokenizer_config.json"):
        try:
            content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except (OSError, ValueError, RecursionError) as error:
            raise ChatTemplateLoadError(f"{path} is not valid JSON: {error}") from error
        if not isinstance(content, dict):
            raise ChatTemplateLoadError(f"{path} does not hold a JSON object")
        config |= content
    return config


def read_special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Tokens by their names; beside them there are switches such as `add_bos_token`."""
    tokens = {name: value for name, value in config.items() if name.endswith("_token")}
    texts = {name: value.get("content") if isinstance(value, dict) else value for name, value in tokens.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str) and text}
