"""Golden cases: what a dialect makes of a request and of the events that answer it, byte for byte.

A case is an object in `tests/dialects/<name>/cases/*.json`; a file holds one, or a list of several, which then have a
`name` each. Its keys:

route       `POST /v1/completions`: the method and the concrete path
request     the body as JSON; or `raw_body`, the body as text; with neither the body is empty
headers     request headers, lower-case
query       query parameters
profile     name of a profile that the dialect's package exports; without it the dialect's default
limits      `ServerLimits` fields that differ from `LIMITS`
server      `ServerStatus` fields that differ from `STATUS`, for routes that describe
canonical   the decoded request, as far as the case names its fields (see `compact.plain`)
tokenized   `[text, [[id, piece, text, start, end], ...], max_model_len]`, for routes that tokenise
succeeds    whether a request was stopped, or whether the server is not being stopped yet, for routes that stop them
text        what the ids mean, for routes that detokenise
events      what happens, in the short forms of `compact.event`; a last `["failed", "EngineFailure", "..."]` breaks off
response    the answer to the request when it is not streamed
stream      the streamed answer
error       `{"status", "body"}` of the refusal: of the request, or of the final failure when no stream is expected
status      of `response`, 200 if absent
reply_headers  headers that the response or the refusal must have, among others
media_type  of the response or the stream
frame       what stands before and after the objects in `stream`, `["data: ", "\\n\\n"]` if absent
one_way     true where the answer is only ever streamed, or never: no comparison of the two

Expected bodies are text, or an object for its compact JSON. A stream is a list of such; they are joined.

Where a dialect has a module `tests.dialects.<name>.texts` with `reply_texts(request, body)` and
`stream_texts(request, body)`, each giving the text of every choice, the two must agree in every case. The same module
has `LEDGER_REQUESTS`, which gives a path and a good body for the title of each of the dialect's ledgers.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from portico.core.dialect import (
    Describe,
    Detokenize,
    Dialect,
    Exchange,
    RawRequest,
    Reply,
    Route,
    Shutdown,
    Stop,
    Tokenize,
)
from portico.core.errors import PorticoError
from portico.core.events import Delta, Event, Finished, fold
from portico.core.model import EngineStats, ModelInfo, RequestCounts, ServedModel, ServerLimits, ServerStatus
from portico.core.tokens import Tokenized, TokenSpan
from tests.dialects.compact import compact_json, event, failure, plain

DIALECTS = {name: f"portico.dialects.{name}" for name in ("openai", "vllm", "tgi", "triton", "mindie", "anthropic")}
REQUEST_ID = "golden"
RECEIVED_AT = 1700000000.5
LIMITS = ServerLimits(max_num_seqs=64, max_waiting=256, max_choices=128, max_logprobs=20, max_stop=16)
STATUS = ServerStatus(
    version="1.2.3",
    served=ServedModel(names=("demo", "alias/one"), accepts_any_name=False, path="/models/demo"),
    model=ModelInfo(
        architecture="Qwen2ForCausalLM",
        dtype="float32",
        device="cpu",
        vocab_size=1000,
        max_model_len=512,
        eos_token_ids=(2,),
        num_parameters=1234567,
    ),
    limits=LIMITS,
    is_ready=True,
    started_at=1699999999,
    stats=EngineStats(num_running=1, num_waiting=2, num_blocks=100, num_free_blocks=60, num_preemptions=0),
    num_requests=3,
    counts=RequestCounts(
        num_answered=3,
        num_failed=1,
        last_answered_at=1700000000.5,
        answered_seconds=6.5,
        prepare_seconds=0.5,
        queue_seconds=0.25,
        generate_seconds=5.0,
        deliver_seconds=0.75,
        failed_seconds=0.125,
    ),
)


@dataclass(frozen=True)
class Case:
    """One golden case: its dialect, its name for the test report, and its content."""

    dialect: str
    name: str
    content: Mapping[str, Any]


def exists(name: str) -> bool:
    """Whether the dialect's package is there."""
    return importlib.util.find_spec(DIALECTS[name]) is not None


@functools.cache
def load_dialect(name: str, profile: str | None = None) -> Dialect:
    """The dialect, with the named profile of its package or the default one; skips the test if it does not exist."""
    if not exists(name):
        pytest.skip(f"there is no {DIALECTS[name]} yet")
    module = importlib.import_module(DIALECTS[name])
    made: Dialect = module.dialect(*([getattr(module, profile)] if profile else []))
    return made


def find_cases() -> list[Case]:
    """All cases of all dialects."""
    found = []
    for name in DIALECTS:
        for path in sorted((Path(__file__).parent / name / "cases").glob("*.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(content, list):
                found += [Case(name, f"{name}-{path.stem}-{each['name']}", each) for each in content]
            else:
                found.append(Case(name, f"{name}-{path.stem}", content))
    return found


def find_route(dialect: Dialect, method: str, path: str) -> tuple[Route, dict[str, str]]:
    """The dialect's route for a concrete path, with the path's parameters."""
    for route in dialect.routes:
        pattern = re.sub(r"\{(\w+):path\}", r"(?P<\1>.+)", route.path)
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
        if route.method == method and (match := re.fullmatch(pattern, path)):
            return route, match.groupdict()
    raise LookupError(f"{dialect.name} has no route {method} {path}")


def raw_request(
    method: str,
    path: str,
    body: bytes = b"",
    *,
    path_params: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    limits: ServerLimits = LIMITS,
) -> RawRequest:
    """A request with a fixed id and time."""
    return RawRequest(
        request_id=REQUEST_ID,
        method=method,
        path=path,
        path_params=path_params or {},
        query=query or {},
        headers=headers or {},
        body=body,
        received_at=RECEIVED_AT,
        limits=limits,
    )


def decode(dialect: Dialect, path: str, body: bytes, limits: ServerLimits = LIMITS, method: str = "POST") -> Any:
    """What the dialect's route makes of a body: an exchange of the route's operation."""
    route, path_params = find_route(dialect, method, path)
    assert not isinstance(route.operation, Describe)
    return route.operation.decode(raw_request(method, path, body, path_params=path_params, limits=limits))


def batches(events: list[Event]) -> list[list[Event]]:
    """Events one by one, but the end of a choice together with its last tokens, as engines give them."""
    found: list[list[Event]] = []
    for each in events:
        found.append([each])
        if isinstance(each, Finished):
            positions = [place for place, batch in enumerate(found) if _has_tokens(batch, each.index)]
            first = positions[-1] if positions else len(found) - 1
            found[first:] = [[event for batch in found[first:] for event in batch]]
    return found


def _has_tokens(batch: list[Event], index: int) -> bool:
    return any(isinstance(each, Delta) and each.index == index and each.token_ids for each in batch)


def stream(exchange: Exchange, events: list[Event], error: PorticoError | None = None) -> bytes:
    """The whole streamed body; it is the same when several steps have piled up behind a slow reader."""
    encoder, late = exchange.encoder(), exchange.encoder()
    body = b"".join(encoder.feed(batch) for batch in batches(events))
    assert b"".join([late.feed(events[:1]), late.feed(events[1:]) if len(events) > 1 else b""]) == body
    return body + (encoder.fail(error) if error else encoder.close())


def check(case: Case) -> None:
    """Checks one case.

    Raises:
        AssertionError: the dialect does something else.
    """
    content = case.content
    dialect = load_dialect(case.dialect, content.get("profile"))
    method, path = content["route"].split(" ", 1)
    route, path_params = find_route(dialect, method, path)
    raw = raw_request(
        method,
        path,
        _body(content),
        path_params=path_params,
        query=content.get("query"),
        headers=content.get("headers"),
        limits=dataclasses.replace(LIMITS, **content.get("limits", {})),
    )
    try:
        if isinstance(route.operation, Describe):
            status = dataclasses.replace(STATUS, **content.get("server", {}))
            _check_reply(route.operation.describe(raw, status), content)
            return
        exchange: Any = route.operation.decode(raw)
    except PorticoError as error:
        if "error" not in content:
            raise
        _check_refusal(route.refuse(raw, error) if route.refuse else dialect.refuse(error), content)
        return
    if isinstance(route.operation, Stop | Shutdown):
        _check_reply(exchange.reply(content["succeeds"]), content)
        return
    assert route.claim is None or route.claim.accepts(raw.body), "the route does not claim its own request"
    _check_canonical(plain(exchange.request), content.get("canonical", {}))
    if isinstance(route.operation, Tokenize):
        text, tokens, max_model_len = content["tokenized"]
        spans = tuple(TokenSpan(*each) for each in tokens)
        _check_reply(exchange.reply(Tokenized(text, spans, max_model_len)), content)
    elif isinstance(route.operation, Detokenize):
        _check_reply(exchange.reply(content["text"]), content)
    elif "events" in content:
        _check_answer(case, partial(route.refuse, raw) if route.refuse else dialect.refuse, exchange)
    else:
        assert "error" not in content, "the request was expected to be refused"


def _check_answer(case: Case, refuse: Callable[[PorticoError], Reply], exchange: Exchange) -> None:
    content = case.content
    forms = content["events"]
    error = failure(forms[-1]) if forms and forms[-1][0] == "failed" else None
    events = [event(form) for form in (forms[:-1] if error else forms)]
    if "stream" in content:
        frame = content.get("frame", ["data: ", "\n\n"])
        assert stream(exchange, events, error).decode() == _joined(content["stream"], frame)
        if "media_type" in content and "response" not in content:
            assert exchange.encoder().media_type == content["media_type"]
    if error:
        if "error" in content:
            _check_refusal(refuse(error), content)
        return
    reply = exchange.reply(fold(events))
    if "response" in content:
        _check_reply(reply, content)
    if not content.get("one_way", False):
        _check_same_texts(case.dialect, exchange, reply.body, stream(exchange, events))


def _check_same_texts(name: str, exchange: Exchange, reply: bytes, streamed: bytes) -> None:
    if importlib.util.find_spec(f"tests.dialects.{name}") is None:
        return
    if importlib.util.find_spec(f"tests.dialects.{name}.texts") is None:
        return
    texts = importlib.import_module(f"tests.dialects.{name}.texts")
    assert texts.stream_texts(exchange.request, streamed) == texts.reply_texts(exchange.request, reply)


def _check_reply(reply: Reply, content: Mapping[str, Any]) -> None:
    assert "error" not in content, "the request was expected to be refused"
    assert reply.body.decode() == _text(content.get("response", ""))
    assert reply.status == content.get("status", 200)
    assert reply.media_type == content.get("media_type", reply.media_type)
    assert dict(reply.headers).items() >= content.get("reply_headers", {}).items()


def _check_refusal(reply: Reply, content: Mapping[str, Any]) -> None:
    assert reply.body.decode() == _text(content["error"]["body"])
    assert reply.status == content["error"]["status"]
    assert dict(reply.headers).items() >= content.get("reply_headers", {}).items()


def _check_canonical(actual: Any, expected: Any, at: str = "request") -> None:
    """Objects may have more keys than expected; all else is equal, and of the same type (1 is not True)."""
    if isinstance(expected, dict):
        assert isinstance(actual, dict), f"{at} is {actual!r}"
        for key, value in expected.items():
            assert key in actual, f"{at} has no {key}"
            _check_canonical(actual[key], value, f"{at}.{key}")
    elif isinstance(expected, list):
        assert isinstance(actual, list), f"{at} is {actual!r}"
        assert len(actual) == len(expected), f"{at} is {actual!r}"
        for index, value in enumerate(expected):
            _check_canonical(actual[index], value, f"{at}[{index}]")
    else:
        assert (actual, isinstance(actual, bool)) == (expected, isinstance(expected, bool)), f"{at} is {actual!r}"


def _body(content: Mapping[str, Any]) -> bytes:
    if "raw_body" in content:
        return str(content["raw_body"]).encode()
    return compact_json(content["request"]) if "request" in content else b""


def _joined(expected: Any, frame: list[str]) -> str:
    if isinstance(expected, str):
        return expected
    before, after = frame
    return "".join(each if isinstance(each, str) else before + _text(each) + after for each in expected)


def _text(expected: Any) -> str:
    return expected if isinstance(expected, str) else compact_json(expected).decode()
