"""How a model writes calls of tools, found in what its chat template says and in what it does."""

from __future__ import annotations

import json
from typing import Any

from portico.core.errors import InvalidParameter, UnsupportedParameter
from portico.core.request import ChatPrompt, Message
from portico.text.chat_template import ChatTemplate
from portico.text.tool_parsers import FORMATS, detect_format
from portico.text.tool_parsers.format import ArgumentsPiece, CallBegun, CallFormat
from portico.text.tool_parsers.reader import CallReader

_NAME, _ARGUMENTS = "get_weather", {"city": "Ulm", "days": 2}
_PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
_TOOL = {"type": "function", "function": {"name": _NAME, "description": "", "parameters": _PARAMETERS}}
_QUESTION = Message("user", "Weather?", {})
# Some templates want an id of nine characters.
_CALL = {"id": "a1b2c3d4e", "type": "function", "function": {"name": _NAME, "arguments": _ARGUMENTS}}
_ANSWER = Message("assistant", "", {"tool_calls": [_CALL]})


def find_call_format(template: ChatTemplate) -> CallFormat | None:
    """The format of calls; None if it is not known.

    Most templates show it to the model, and repeat calls of earlier turns in it. Where the two do not agree, markup
    counts and bare JSON does not: some templates repeat calls as JSON whatever the model writes.
    """
    taught = detect_format(template.source)
    written = _repeated_call(template)
    if written is None or (taught is not None and _reads(taught, written)):
        return taught
    found = next((each for each in FORMATS.values() if _reads(each, written)), None)
    if taught is None or (found is not None and found.opener in written):
        return found
    return None if taught.opener in written else taught


def _repeated_call(template: ChatTemplate) -> str | None:
    """What the template writes for a call of an earlier turn, behind what begins the turn; None if it writes none."""
    try:
        begun = _render(template, _QUESTION)
        whole = _render(template, _QUESTION, _ANSWER)
    except (InvalidParameter, UnsupportedParameter):
        return None
    written = whole[_common_length(begun, whole) :]
    return written if _NAME in written else None


def _common_length(begun: str, whole: str) -> int:
    """How far the turns are the same; the model's own may go on otherwise, with a mark of reasoning say."""
    if whole.startswith(begun):
        return len(begun)
    length = next(at for at, pair in enumerate(zip(begun, whole, strict=False)) if pair[0] != pair[1])
    # Marks that differ may begin alike.
    while length and not (whole[length - 1].isspace() or whole[length - 1] in ">]"):
        length -= 1
    return length


def _render(template: ChatTemplate, *turns: Message) -> str:
    is_question = turns[-1].role == "user"
    return template.render(ChatPrompt(turns, is_question, False, {}, None, False, (_TOOL,)))


def _reads(call_format: CallFormat, written: str) -> bool:
    """Whether a reader of the format finds the call, and no other."""
    reader = CallReader(call_format, {_NAME: _PARAMETERS})
    parts = reader.feed(written) + reader.flush()
    names = [part.name for part in parts if isinstance(part, CallBegun)]
    arguments = "".join(part.text for part in parts if isinstance(part, ArgumentsPiece))
    return names == [_NAME] and _parse(arguments) == _ARGUMENTS


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
