"""Errors in TGI's shape. Bodies that do not fit the schema are refused in plain text, as TGI's HTTP layer does."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from portico.core.dialect import RawRequest, Reply
from portico.core.errors import (
    EngineFailure,
    Forbidden,
    GrammarExhausted,
    InvalidGrammar,
    MalformedRequest,
    MethodNotAllowed,
    NotReady,
    Overloaded,
    PayloadTooLarge,
    PorticoError,
    PromptTooLong,
    QueueTimedOut,
    QuotaExceeded,
    RequestError,
    TimedOut,
    Unauthorized,
    UnknownModel,
    UnknownRoute,
    UnsupportedMediaType,
    UnsupportedParameter,
)
from portico.dialects import wire

_MISFIT = "Failed to deserialize the JSON body into the target type"
_TEXT = "text/plain; charset=utf-8"


class ToolError(RequestError):
    """Tools that cannot be called as the request asks for."""


class SuffixUnsupported(UnsupportedParameter):
    """Text cannot be inserted before an ending."""

    def __init__(self) -> None:
        super().__init__("suffix", "Suffix is not supported and can be achieved by preprocessing the prompt.")


class TooManyPrompts(RequestError):
    """A request has more prompts than one request may have."""

    def __init__(self, max_prompts: int, given: int) -> None:
        super().__init__(
            f"Number of prompts exceeds the maximum allowed batch size of {max_prompts}. Given: {given} prompts"
        )


@dataclass(frozen=True, slots=True)
class _Row:
    """How a kind of error is told; `prefix` stands before its sentence."""

    status: int
    error_type: str
    prefix: str = ""


_TABLE: dict[type[PorticoError], _Row] = {
    RequestError: _Row(422, "validation", "Input validation error: "),
    ToolError: _Row(422, "tool_error", "Tool error: "),
    SuffixUnsupported: _Row(422, "suffix not supported"),
    TooManyPrompts: _Row(422, "batch size exceeded"),
    UnknownModel: _Row(404, "not_found"),
    QuotaExceeded: _Row(429, "overloaded"),
    Overloaded: _Row(429, "overloaded", "Model is overloaded: "),
    NotReady: _Row(503, "healthcheck"),
    GrammarExhausted: _Row(424, "generation", "Request failed during generation: "),
    EngineFailure: _Row(424, "generation", "Request failed during generation: "),
    QueueTimedOut: _Row(503, "overloaded", "Model is overloaded: "),
    TimedOut: _Row(504, "incomplete_generation"),
    PorticoError: _Row(500, "incomplete_generation"),
}
_MINDIE: dict[type[PorticoError], _Row] = {
    RequestError: _Row(422, "Input Validation Error"),
    PromptTooLong: _Row(424, "Generation Error"),
    GrammarExhausted: _Row(424, "Generation Error"),
    Unauthorized: _Row(401, "Unauthorized"),
    Forbidden: _Row(403, "Forbidden"),
    UnknownModel: _Row(404, "NotFoundError"),
    UnknownRoute: _Row(404, "NotFoundError"),
    MethodNotAllowed: _Row(405, "Method Not Allowed"),
    UnsupportedMediaType: _Row(415, "Input Validation Error"),
    PayloadTooLarge: _Row(413, "Input Validation Error"),
    QuotaExceeded: _Row(429, "Too Many Requests"),
    Overloaded: _Row(503, "Service Unavailable"),
    NotReady: _Row(503, "Service Unavailable"),
    QueueTimedOut: _Row(503, "Service Unavailable"),
    PorticoError: _Row(500, "Incomplete Generation"),
}
# What TGI finds out before it begins a stream.
_BEFORE_STREAM = (
    MalformedRequest,
    wire.SchemaMismatch,
    UnknownRoute,
    MethodNotAllowed,
    UnsupportedMediaType,
    Unauthorized,
    Forbidden,
    PayloadTooLarge,
)
_BEFORE_CHUNKS = (*_BEFORE_STREAM, ToolError, SuffixUnsupported, TooManyPrompts)
DONE = wire.sse(b"[DONE]")


def refuse(error: PorticoError) -> Reply:
    """The error as a whole answer."""
    match error:
        case MalformedRequest():
            return _text(400, f"Failed to parse the request body as JSON: {error}")
        case wire.IntegerOutOfRange():
            return _text(422, f"{_MISFIT}: {error.name}: {_misread(error)}")
        case wire.SchemaMismatch():
            return _text(422, f"{_MISFIT}: {error}")
        case Unauthorized() | Forbidden():
            # Without a type, as TGI's has no body at all: clients then go by the status.
            status = 401 if isinstance(error, Unauthorized) else 403
            return Reply(status, wire.encode_json({"error": str(error)}), headers=wire.error_headers(error))
        case UnknownRoute():
            return _text(404, str(error))
        case MethodNotAllowed():
            return _text(405, str(error), wire.error_headers(error))
        case UnsupportedMediaType():
            return _text(415, f"Expected request with `Content-Type: application/json`: {error}")
        case PayloadTooLarge():
            return _text(413, f"Failed to buffer the request body: {error}")
    return Reply(_row(error).status, encode(error), headers=wire.error_headers(error))


def refuse_in_stream(error: PorticoError) -> Reply:
    """The error as the only event of a stream, whose status was sent before anything could fail."""
    if isinstance(error, _BEFORE_STREAM):
        return refuse(error)
    return Reply(200, wire.sse(encode(error)), "text/event-stream", {"cache-control": "no-cache"})


def encode_chunk(error: PorticoError) -> bytes:
    """The error's JSON object within a stream of chunks, where all kinds of errors have one status."""
    sentence = _row(error).prefix + _sentence(error)
    return wire.encode_json({"error": {"message": sentence, "http_status_code": 422}})


def refuse_in_asked_chunks(raw: RawRequest, error: PorticoError) -> Reply:
    """The error on a path whose streams are chunks and end with a word, when it is told to stream."""
    if isinstance(error, _BEFORE_CHUNKS) or not is_stream(raw):
        return refuse(error)
    return Reply(200, wire.sse(encode_chunk(error)) + DONE, "text/event-stream", {"cache-control": "no-cache"})


def refuse_always_in_stream(raw: RawRequest, error: PorticoError) -> Reply:
    """The error on a path that always streams."""
    return refuse_in_stream(error)


def refuse_in_asked_stream(raw: RawRequest, error: PorticoError) -> Reply:
    """The error on a path that streams when it is told to."""
    return refuse_in_stream(error) if is_stream(raw) else refuse(error)


def encode(error: PorticoError) -> bytes:
    """The error's JSON object, as it also stands in a stream."""
    row = _row(error)
    return _object(row.prefix + _sentence(error), row.error_type)


def refuse_mindie(error: PorticoError) -> Reply:
    """MindIE's pair of a sentence and a type."""
    return Reply(_row(error, _MINDIE).status, encode_mindie(error), headers=wire.error_headers(error))


def encode_mindie(error: PorticoError) -> bytes:
    """The error's JSON object with MindIE's types."""
    return _object(str(error), _row(error, _MINDIE).error_type)


def incomplete(error_type: str) -> bytes:
    """The JSON object for output that ended without a reason."""
    return _object("Incomplete generation", error_type)


def is_stream(raw: RawRequest) -> bool:
    """Whether the body asks for a stream."""
    try:
        return wire.read_object(raw.body).get("stream") is True
    except MalformedRequest:
        return False


def unhealthy() -> Reply:
    """What health routes say while no requests are taken."""
    return Reply(503, _object("unhealthy", "healthcheck"))


def _row(error: PorticoError, table: dict[type[PorticoError], _Row] = _TABLE) -> _Row:
    return next(table[kind] for kind in type(error).__mro__ if kind in table)


def _sentence(error: PorticoError) -> str:
    """What clients look for in the refusals that TGI words in its own fields."""
    if isinstance(error, InvalidGrammar) and not isinstance(error, GrammarExhausted):
        return f"grammar is not valid: {error.reason}"
    if not isinstance(error, PromptTooLong):
        return str(error)
    if error.max_tokens is None:
        return f"`inputs` must have less than {error.max_model_len} tokens. Given: {error.num_prompt_tokens}"
    return (
        f"`inputs` tokens + `max_new_tokens` must be <= {error.max_model_len}. "
        f"Given: {error.num_prompt_tokens} `inputs` tokens and {error.max_tokens} `max_new_tokens`"
    )


def _misread(error: wire.IntegerOutOfRange) -> str:
    """What becomes of an integer that TGI has no type for: a number of another kind, or none."""
    try:
        return f"invalid type: floating point `{Decimal(repr(float(error.number))):f}.0`, expected u64"
    except OverflowError:
        return "number out of range"


def _object(sentence: str, error_type: str) -> bytes:
    return wire.encode_json({"error": sentence, "error_type": error_type})


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, text.encode(), _TEXT, headers or {})
