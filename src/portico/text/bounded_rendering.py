"""A template that came with a request, rendered in a process of its own with limits on time, memory and output.

The sandbox keeps a template from the process it runs in, but not from running for ever or filling its memory.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from portico.core.errors import InvalidParameter, UnsupportedParameter
from portico.core.request import ChatPrompt, Message
from portico.text.chat_template import ChatTemplate, ChatTemplateLoadError
from portico.text.template_text import TemplateText, own_parts

_MAX_SECONDS = 2
_MAX_BYTES = 1 << 30
_MAX_CHARACTERS = 4_000_000


def render_bounded(prompt: ChatPrompt, special_tokens: Mapping[str, str], marks_own: bool = False) -> str:
    """The prompt of a conversation, by the template that it carries; see `ChatTemplate` for `marks_own`.

    Raises:
        InvalidParameter: the template is broken, refuses the conversation, or goes beyond the limits.
    """
    work = json.dumps([asdict(prompt), dict(special_tokens), marks_own]).encode()
    command = [sys.executable, "-P", "-m", __name__]
    try:
        done = subprocess.run(command, input=work, capture_output=True, timeout=5 * _MAX_SECONDS, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        raise InvalidParameter(
            "chat_template", "The chat template of the request takes too much time or memory."
        ) from None
    answer = json.loads(done.stdout)
    if "text" not in answer:
        raise InvalidParameter(answer["name"], answer["message"])
    own = tuple((start, end) for start, end in answer["own"])
    return TemplateText(answer["text"], own) if marks_own else str(answer["text"])


def _answer(work: bytes) -> dict[str, Any]:
    fields, special_tokens, marks_own = json.loads(work)
    source = fields["template"]
    prompt = replace(ChatPrompt(**fields), messages=tuple(Message(**each) for each in fields["messages"]))
    try:
        text = ChatTemplate(source, special_tokens, marks_own).render(prompt)
    except ChatTemplateLoadError as error:
        return {"name": "chat_template", "message": f"`chat_template` cannot be used: {error}."}
    except (InvalidParameter, UnsupportedParameter) as error:
        return {"name": error.name, "message": str(error)}
    if len(text) > _MAX_CHARACTERS:
        return {"name": "chat_template", "message": f"`chat_template` writes more than {_MAX_CHARACTERS} characters."}
    return {"text": text, "own": own_parts(text)}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_SECONDS, _MAX_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, _MAX_BYTES))
    sys.stdout.write(json.dumps(_answer(sys.stdin.buffer.read())))
