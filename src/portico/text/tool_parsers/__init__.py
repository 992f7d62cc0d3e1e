"""Tool calls in the text of models: one small file per format, and one reader for all of them."""

from __future__ import annotations

from collections.abc import Mapping

from portico.text.tool_parsers.format import CallFormat
from portico.text.tool_parsers.hermes import HERMES
from portico.text.tool_parsers.llama3_json import LLAMA3_JSON
from portico.text.tool_parsers.mistral import MISTRAL

FORMATS: Mapping[str, CallFormat] = {"hermes": HERMES, "llama3_json": LLAMA3_JSON, "mistral": MISTRAL}


def detect_format(template: str) -> CallFormat | None:
    """The format that a chat template teaches or repeats; None if it is none of these."""
    return next((each for each in FORMATS.values() if each.is_taught_by(template)), None)
