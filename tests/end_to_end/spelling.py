"""Servers whose model writes a given text: the scripted engine, with the demo model's tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import portico
from portico.text.tokenizer import Tokenizer
from tests.end_to_end.server import RunningServer, run_server

# Writes tools, calls and their results as Qwen's template does.
TEMPLATE = """\
{%- if tools %}<|im_start|>system
# Tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}
{%- for call in message.tool_calls or [] %}
<tool_call>{{ call.function | tojson }}</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@contextmanager
def run_writer(folder: Path, text: str, *arguments: str) -> Iterator[RunningServer]:
    """A server whose every answer is this text."""
    tokenizer = Tokenizer.load(Path(portico.__file__).parent / "demo" / "checkpoint")
    script = map(str, tokenizer.encode(text, add_special_tokens=False))
    path = folder / "template.jinja"
    path.write_text(TEMPLATE, encoding="utf-8")
    flags = ("--engine", "scripted", "--vocab-size", str(tokenizer.vocab_size), "--chat-template", str(path))
    with run_server(*flags, *arguments, "--script", *script) as server:
        yield server
