"""Tool calls in the text of models: one small file per format, and one reader for all of them."""

from __future__ import annotations

from collections.abc import Mapping

from portico.text.tool_parsers.deepseek import DEEPSEEK
from portico.text.tool_parsers.format import CallFormat
from portico.text.tool_parsers.functionary import FUNCTIONARY
from portico.text.tool_parsers.glm45 import GLM45
from portico.text.tool_parsers.hermes import HERMES
from portico.text.tool_parsers.json_list import APRIEL, GRANITE, NEMOTRON, PHI4_MINI
from portico.text.tool_parsers.llama3_json import LLAMA3_JSON
from portico.text.tool_parsers.mistral import MISTRAL
from portico.text.tool_parsers.pythonic import PYTHONIC
from portico.text.tool_parsers.qwen3_coder import QWEN3_CODER

# By the names that vLLM gives them, of which some have several; functionary, apriel and nemotron_json are not in it.
FORMATS: Mapping[str, CallFormat] = {
    "hermes": HERMES,
    "qwen3_coder": QWEN3_CODER,
    "glm45": GLM45,
    "llama3_json": LLAMA3_JSON,
    "pythonic": PYTHONIC,
    "mistral": MISTRAL,
    "deepseek_v3": DEEPSEEK,
    "deepseek_v31": DEEPSEEK,
    "granite": GRANITE,
    "phi4_mini_json": PHI4_MINI,
    "apriel": APRIEL,
    "nemotron_json": NEMOTRON,
    "functionary": FUNCTIONARY,
    "qwen3_xml": QWEN3_CODER,
    "llama4_pythonic": PYTHONIC,
}


def detect_format(template: str) -> CallFormat | None:
    """The format that a chat template teaches or repeats; None if it is none of these."""
    return next((each for each in FORMATS.values() if each.is_taught_by(template)), None)
