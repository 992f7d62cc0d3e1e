"""Every path that reads a body, with the names that the fields of one meaning have there.

A mistake in one alias of a function is the usual way past a check, so each attack is sent to all of them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]
Place = Callable[[Any], Body]

_MESSAGES = [{"role": "user", "content": "Hello"}]
_INFER_TEXT = {"name": "text_input", "shape": [1], "datatype": "BYTES", "data": ["Hello"]}


@dataclass(frozen=True)
class Surface:
    """One path.

    Attributes:
        name: short, for reports.
        path: with the model's name where it has one.
        wire: whose errors it answers with.
        body: the smallest body that is answered, with one token where it generates.
        scope: where the fields for sampling stand: the top, or within this object.
        fields: the wire's names of fields, by the meaning that the attacks use; without one the name is the same.
        demands: how it is asked for an output by a `schema`, a `regex` or a `grammar`.
        generates: whether it generates at all.
        streams_errors: errors can be an event under status 200.
    """

    name: str
    path: str
    wire: str
    body: Mapping[str, Any]
    scope: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    demands: Mapping[str, Place] = field(default_factory=dict)
    generates: bool = True
    streams_errors: bool = False

    def with_field(self, meaning: str, value: Any) -> Body:
        """The valid body with one more field."""
        return self.with_fields({self.fields.get(meaning, meaning): value})

    def with_fields(self, fields: Mapping[str, Any]) -> Body:
        """The valid body with more fields where its fields for sampling stand."""
        body: Body = copy.deepcopy(dict(self.body))
        target = body.setdefault(self.scope, {}) if self.scope else body
        target.update(fields)
        return body

    def with_top(self, fields: Mapping[str, Any]) -> Body:
        """The valid body with more fields at its top."""
        return {**self.body, **fields}

    def with_demand(self, kind: str, value: Any) -> Body:
        """The valid body, asking for an output of a form."""
        return self.with_fields(self.demands[kind](value))


def _response_format(schema: Any) -> Body:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


def _structured(name: str) -> dict[str, Place]:
    return {
        "schema": lambda value: {name: {"json": value}},
        "regex": lambda value: {name: {"regex": value}},
        "grammar": lambda value: {name: {"grammar": value}},
    }


def _triton_structured() -> dict[str, Place]:
    return {
        **_structured("structured_outputs"),
        "schema": lambda value: {"guided_decoding_guide_type": "json_schema", "guided_decoding_guide": _text(value)},
    }


def _tgi_grammar() -> dict[str, Place]:
    return {
        "schema": lambda value: {"grammar": {"type": "json", "value": _with_properties(value)}},
        "regex": lambda value: {"grammar": {"type": "regex", "value": value}},
    }


def _with_properties(schema: Any) -> Any:
    return {"properties": {}, **schema} if isinstance(schema, dict) else schema


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_OPENAI_DEMANDS: Mapping[str, Place] = {**_structured("structured_outputs"), "schema": _response_format}
_TGI_FIELDS = {"max_tokens": "max_new_tokens", "logprobs": "top_n_tokens", "min_tokens": "min_new_tokens"}
_TRITON_FIELDS = {"prompt": "text_input"}
_ANTHROPIC_FIELDS = {"stop": "stop_sequences"}


def _tgi(name: str, path: str, **options: Any) -> Surface:
    return Surface(
        name,
        path,
        "tgi",
        {"inputs": "Hello", "parameters": {"max_new_tokens": 1}},
        scope="parameters",
        fields={**_TGI_FIELDS, "prompt": "inputs"},
        demands=_tgi_grammar(),
        **options,
    )


def surfaces(model: str) -> tuple[Surface, ...]:
    """All of them, for a served model."""
    chat = {"model": model, "messages": _MESSAGES, "max_tokens": 1}
    completion = {"model": model, "prompt": "Hello", "max_tokens": 1}
    triton = {"text_input": "Hello", "max_tokens": 1}
    infer = {"inputs": [_INFER_TEXT], "parameters": {"max_tokens": 1}}
    native = {"inputs": "Hello", "parameters": {"max_new_tokens": 1}}
    messages = {"model": model, "messages": _MESSAGES, "max_tokens": 1}
    of_model = f"/v2/models/{model}"
    of_version = f"{of_model}/versions/1"
    return (
        Surface(
            "chat", "/v1/chat/completions", "openai", chat, fields={"logprobs": "top_logprobs"}, demands=_OPENAI_DEMANDS
        ),
        Surface("completions", "/v1/completions", "openai", completion, demands=_OPENAI_DEMANDS),
        Surface(
            "invocations-chat",
            "/invocations",
            "openai",
            chat,
            fields={"logprobs": "top_logprobs"},
            demands=_OPENAI_DEMANDS,
        ),
        Surface("invocations-completion", "/invocations", "openai", completion, demands=_OPENAI_DEMANDS),
        Surface(
            "responses",
            "/v1/responses",
            "openai",
            {"model": model, "input": "Hello", "max_output_tokens": 1},
            fields={"max_tokens": "max_output_tokens", "prompt": "input"},
            demands={
                "schema": lambda value: {"text": {"format": {"type": "json_schema", "name": "x", "schema": value}}}
            },
        ),
        Surface(
            "vllm-generate",
            "/generate",
            "vllm",
            {"prompt": "Hello", "max_tokens": 1},
            demands=_structured("structured_outputs"),
        ),
        _tgi("tgi-generate", "/generate"),
        _tgi("tgi-stream", "/generate_stream", streams_errors=True),
        _tgi("tgi-root", "/"),
        _tgi("tgi-invocations", "/invocations"),
        Surface(
            "triton-generate",
            f"{of_model}/generate",
            "triton",
            triton,
            fields=_TRITON_FIELDS,
            demands=_triton_structured(),
        ),
        Surface(
            "triton-generate-version",
            f"{of_version}/generate",
            "triton",
            triton,
            fields=_TRITON_FIELDS,
            demands=_triton_structured(),
        ),
        Surface(
            "triton-stream",
            f"{of_model}/generate_stream",
            "triton",
            triton,
            fields=_TRITON_FIELDS,
            demands=_triton_structured(),
        ),
        Surface(
            "triton-parameters",
            f"{of_model}/generate",
            "triton",
            {"text_input": "Hello", "parameters": {"max_tokens": 1}},
            scope="parameters",
        ),
        Surface("triton-infer", f"{of_model}/infer", "triton", infer, scope="parameters"),
        Surface("triton-infer-version", f"{of_version}/infer", "triton", infer, scope="parameters"),
        Surface("mindie-infer", "/infer", "mindie", native, scope="parameters", fields=_TGI_FIELDS),
        Surface("mindie-infer-token", "/infer_token", "mindie", native, scope="parameters", fields=_TGI_FIELDS),
        Surface(
            "messages",
            "/v1/messages",
            "anthropic",
            messages,
            fields=_ANTHROPIC_FIELDS,
            demands={"schema": lambda value: {"output_config": {"format": {"type": "json_schema", "schema": value}}}},
        ),
        Surface(
            "input-tokens",
            "/v1/responses/input_tokens",
            "openai",
            {"model": model, "input": "Hello"},
            generates=False,
            fields={"prompt": "input"},
        ),
        Surface(
            "count-tokens",
            "/v1/messages/count_tokens",
            "anthropic",
            {"model": model, "messages": _MESSAGES},
            generates=False,
        ),
        Surface("vllm-tokenize", "/tokenize", "vllm", {"prompt": "Hello"}, generates=False),
        Surface("vllm-tokenize-chat", "/tokenize", "vllm", {"messages": _MESSAGES}, generates=False),
        Surface("tgi-tokenize", "/tokenize", "tgi", {"inputs": "Hello"}, generates=False, fields={"prompt": "inputs"}),
        Surface("tgi-chat-tokenize", "/chat_tokenize", "tgi", {"messages": _MESSAGES}, generates=False),
        Surface("detokenize", "/detokenize", "vllm", {"tokens": [1]}, generates=False, fields={"prompt_ids": "tokens"}),
        Surface(
            "mindie-tokenizer",
            "/v1/tokenizer",
            "mindie",
            {"inputs": "Hello"},
            generates=False,
            fields={"prompt": "inputs"},
        ),
    )
