"""Control tokens that clients write in their messages, as plain text: where, and whether it can be done."""

from __future__ import annotations

import enum

from portico.core.errors import InvalidParameter
from portico.core.request import ChatPrompt, Message
from portico.text.chat_template import ChatTemplate, ChatTemplateLoadError
from portico.text.template_text import own_parts
from portico.text.tokenizer import Tokenizer

_TURNS = tuple(Message(role, "text", {}) for role in ("user", "assistant", "user"))
_PROBES = (_TURNS[:1], _TURNS)


class LiteralContent(enum.Enum):
    """Where control tokens that clients write are plain text: nowhere, in conversations, or in all text."""

    NONE = "none"
    CHAT = "chat"
    ALL = "all"


def check_literal_content(tokenizer: Tokenizer, template: ChatTemplate | None) -> None:
    """Prepares the tokenizer, and renders conversations without any markup: what there is must be the template's.

    Raises:
        ChatTemplateLoadError: the template makes markup in a way that hides where it comes from.
    """
    tokenizer.encode("", add_special_tokens=False, own=())
    if template is None:
        return
    for turns in _PROBES:
        prompt = ChatPrompt(turns, True, False, {}, None, False)
        try:
            text = template.render(prompt)
        except InvalidParameter:
            # Not every template takes every conversation.
            continue
        marked = {match.span() for match in tokenizer.find_markers(text, own_parts(text))}
        for match in tokenizer.find_markers(text, ((0, len(text)),)):
            if match.span() not in marked:
                raise ChatTemplateLoadError(
                    f"--literal-content cannot be used: the chat template makes {match[0]!r} by an operation after "
                    "which it cannot be told from what clients write"
                )
