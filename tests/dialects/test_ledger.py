"""Every ledger against the decoder that it speaks for: what it says is what happens.

The texts module of a dialect names a good request for each of its ledgers; fields are put into its scope.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from portico.core.dialect import Dialect
from portico.core.errors import InvalidParameter, RequestError, UnsupportedParameter
from portico.core.ledger import Entry, Ledger, Treatment
from tests.dialects.golden import DIALECTS, decode, exists, load_dialect

_WRONG: Any = {"no": {"such": [{}]}}


@dataclass(frozen=True)
class Subject:
    """A ledger with the request that it is tried on."""

    dialect: str
    ledger: Ledger
    path: str
    body: dict[str, Any]

    def send(self, field: str, value: Any) -> None:
        """Decodes the request with that field in it."""
        body: dict[str, Any] = copy.deepcopy(self.body)
        place = body
        for part in filter(None, self.ledger.scope.split(".")):
            found = place.setdefault(part, {})
            place = found[0] if isinstance(found, list) else found
        place[field] = value
        decode(_load(self.dialect), self.path, json.dumps(body).encode())

    def name(self, field: str) -> str:
        """The field as errors name it."""
        return f"{self.ledger.scope}.{field}" if self.ledger.scope else field


def _subjects() -> list[Subject]:
    subjects = []
    for name in filter(exists, DIALECTS):
        requests = _requests(name)
        for ledger in _load(name).ledgers:
            if ledger.title in requests:
                path, body = requests[ledger.title]
                subjects.append(Subject(name, ledger, path, body))
    return subjects


def _requests(name: str) -> dict[str, tuple[str, dict[str, Any]]]:
    module = _texts(name)
    return getattr(module, "LEDGER_REQUESTS", {})


def _load(name: str) -> Dialect:
    """The dialect in the flavour that has all of its ledgers."""
    return load_dialect(name, getattr(_texts(name), "LEDGER_PROFILE", None))


def _texts(name: str) -> types.ModuleType | None:
    for module in (f"tests.dialects.{name}", f"tests.dialects.{name}.texts"):
        if importlib.util.find_spec(module) is None:
            return None
    return importlib.import_module(f"tests.dialects.{name}.texts")


def _entries(treatment: Treatment) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("subject", "entry"),
        [
            pytest.param(subject, entry, id=f"{subject.dialect}-{subject.ledger.title}-{entry.field}")
            for subject in _subjects()
            for entry in subject.ledger.entries
            if entry.treatment is treatment
        ],
    )


@pytest.mark.parametrize("name", DIALECTS)
def test_every_ledger_has_a_request(name: str) -> None:
    assert {ledger.title for ledger in _load(name).ledgers} == _requests(name).keys()


@pytest.mark.parametrize("name", DIALECTS)
def test_every_field_stands_once(name: str) -> None:
    for ledger in _load(name).ledgers:
        fields = [entry.field for entry in ledger.entries]
        assert sorted(fields) == sorted(set(fields))


@_entries(Treatment.REFUSED)
def test_refused_unless_null(subject: Subject, entry: Entry) -> None:
    subject.send(entry.field, None)
    with pytest.raises(UnsupportedParameter) as refusal:
        subject.send(entry.field, _WRONG)
    assert refusal.value.name == subject.name(entry.field)
    assert str(refusal.value).endswith(".")


@_entries(Treatment.NEUTRAL_ONLY)
def test_neutral_values_pass_and_others_do_not(subject: Subject, entry: Entry) -> None:
    subject.send(entry.field, None)
    for value in entry.neutral:
        subject.send(entry.field, value)
    if entry.neutral:
        with pytest.raises(UnsupportedParameter) as refusal:
            subject.send(entry.field, _WRONG)
        assert refusal.value.name == subject.name(entry.field)
        assert str(refusal.value).endswith(".")
    else:
        subject.send(entry.field, _WRONG)


@_entries(Treatment.HONOURED)
def test_honoured_fields_are_read(subject: Subject, entry: Entry) -> None:
    with pytest.raises(RequestError):
        _send_wrong(subject, entry.field)


def _send_wrong(subject: Subject, field: str) -> None:
    """Sends a wrong object, and a list: some fields take any object."""
    subject.send(field, _WRONG)
    subject.send(field, [_WRONG])


@pytest.mark.parametrize("subject", [pytest.param(each, id=each.ledger.title) for each in _subjects()])
def test_unknown_fields_are_refused(subject: Subject) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        subject.send("no_such_field", None)
    assert refusal.value.name == subject.name("no_such_field")


def test_the_ledgers_cover_the_official_client() -> None:
    from openai.types import completion_create_params
    from openai.types.chat import chat_completion_stream_options_param
    from openai.types.chat import completion_create_params as chat_create_params
    from openai.types.responses import (
        input_token_count_params,
        response_create_params,
        response_format_text_json_schema_config_param,
        response_text_config_param,
    )
    from openai.types.shared_params import reasoning, response_format_json_schema

    documented: dict[str, set[str]] = {
        "POST /v1/chat/completions": _fields(chat_create_params, "CompletionCreateParamsBase"),
        "POST /v1/completions": _fields(completion_create_params, "CompletionCreateParamsBase"),
        "stream_options": _fields(chat_completion_stream_options_param, "ChatCompletionStreamOptionsParam"),
        "POST /v1/responses": _fields(response_create_params, "ResponseCreateParamsBase"),
        "POST /v1/responses/input_tokens": _fields(input_token_count_params, "InputTokenCountParams"),
        "reasoning": _fields(reasoning, "Reasoning"),
        "text": _fields(response_text_config_param, "ResponseTextConfigParam"),
        "text.format": _fields(
            response_format_text_json_schema_config_param, "ResponseFormatTextJSONSchemaConfigParam"
        ),
        "response_format": _fields(response_format_json_schema, "ResponseFormatJSONSchema"),
        "response_format.json_schema": _fields(response_format_json_schema, "JSONSchema"),
    }
    ledgers = load_dialect("openai").ledgers
    assert documented.keys() <= {ledger.title for ledger in ledgers}
    for ledger in ledgers:
        missing = documented.get(ledger.title, set()) - {entry.field for entry in ledger.entries} - {"stream"}
        assert not missing, f"{ledger.title} says nothing of {missing}"


# The classes of vLLM's protocol by the ledgers that speak for their fields; what the class does not let clients set is
# left out.
UPSTREAM: dict[tuple[str, str], tuple[str, ...]] = {
    ("openai", "POST /v1/chat/completions"): ("ChatCompletionRequest",),
    ("openai", "POST /v1/completions"): ("CompletionRequest",),
    ("openai", "POST /v1/responses"): ("ResponsesRequest",),
    ("openai", "stream_options"): ("StreamOptions",),
    ("openai", "response_format"): ("ResponseFormat",),
    ("openai", "response_format.json_schema"): ("JsonSchemaResponseFormat",),
    ("openai", "structured_outputs"): ("StructuredOutputsParams",),
    ("vllm", "POST /generate"): ("SamplingParams",),
    ("vllm", "structured_outputs"): ("StructuredOutputsParams",),
    ("vllm", "POST /tokenize"): ("TokenizeCompletionRequest", "TokenizeChatRequest"),
    ("vllm", "POST /detokenize"): ("DetokenizeRequest",),
    ("anthropic", "POST /v1/messages"): ("AnthropicMessagesRequest",),
    ("anthropic", "POST /v1/messages/count_tokens"): ("AnthropicCountTokensRequest",),
}
_NOT_FOR_CLIENTS = {"output_text_buffer_length"}


def test_the_ledgers_cover_what_vllm_reads() -> None:
    path = Path(__file__).parent / "vllm" / "upstream_fields.json"
    classes = json.loads(path.read_text(encoding="utf-8"))["classes"]
    assert {each for names in UPSTREAM.values() for each in names} == classes.keys()
    for (name, title), names in UPSTREAM.items():
        (ledger,) = (each for each in load_dialect(name).ledgers if each.title == title)
        fields = {field for each in names for field in classes[each]["fields"]}
        missing = fields - {entry.field for entry in ledger.entries} - _NOT_FOR_CLIENTS
        assert not missing, f"{title} of {name} says nothing of {missing}"


def test_the_ledgers_cover_the_official_anthropic_client() -> None:
    from anthropic.types import message_count_tokens_params, message_create_params, output_config_param

    documented = {
        "POST /v1/messages": _fields(message_create_params, "MessageCreateParamsBase"),
        "output_config": _fields(output_config_param, "OutputConfigParam"),
        "POST /v1/messages/count_tokens": _fields(message_count_tokens_params, "MessageCountTokensParams"),
    }
    for ledger in load_dialect("anthropic").ledgers:
        missing = documented[ledger.title] - {entry.field for entry in ledger.entries}
        assert not missing, f"{ledger.title} says nothing of {missing}"


def test_wrong_types_name_the_field() -> None:
    with pytest.raises(InvalidParameter) as refusal:
        decode(load_dialect("openai"), "/v1/completions", b'{"prompt":"hi","max_tokens":"many"}')
    assert refusal.value.name == "max_tokens"


def _fields(module: types.ModuleType, name: str) -> set[str]:
    return set(typing.cast("dict[str, Any]", getattr(module, name).__annotations__))
