"""The dialects as a client speaks them: the request as bytes, and what each frame of a stream says.

Frames are looked at with byte searches, and parsed only where a count stands in them, so that the load generator
takes little of the machine that it shares with the server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from portico.bench.workload import BenchRequest


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked.

    Attributes:
        model: the name in requests; empty leaves it out where the dialect allows that.
        extra: fields that every body gets besides; None takes a field out, for servers that refuse it.
    """

    base_url: str
    model: str = ""
    api_key: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wire:
    """How one dialect is spoken.

    Attributes:
        name: of the dialect, as the command line has it.
        path: of a streamed request; `{model}` is filled in.
        body: the fields of a request.
        delimiter: what ends a frame.
        text: matches a frame that has new text.
        count: matches a frame that has a count of output tokens, in its only group; None counts what was asked for.
        adds_counts: counts are of each frame, not of the whole answer.
        index: matches the number of the choice that a frame belongs to; None where frames do not tell.
        has_choices: a streamed request may ask for several choices.
    """

    name: str
    path: str
    body: Callable[[BenchRequest, str], dict[str, Any]]
    delimiter: bytes
    text: re.Pattern[bytes]
    count: re.Pattern[bytes] | None
    adds_counts: bool = False
    index: re.Pattern[bytes] | None = None
    has_choices: bool = True

    def encode(self, request: BenchRequest, target: Target) -> tuple[str, bytes]:
        """The path and the body of a request."""
        body = {**self.body(request, target.model), **target.extra}
        given = {name: value for name, value in body.items() if value is not None}
        return self.path.format(model=target.model), json.dumps(given).encode()


def _sampling(request: BenchRequest) -> dict[str, Any]:
    """Greedy for one choice; several would all be the same, so they are drawn."""
    if request.num_choices == 1:
        return {"temperature": 0}
    return {"temperature": 1.0, "seed": request.seed, "n": request.num_choices}


def _openai(request: BenchRequest, model: str) -> dict[str, Any]:
    body = {
        "max_tokens": request.output_len,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        **_sampling(request),
    }
    return {"model": model, **body} if model else body


def _completion(request: BenchRequest, model: str) -> dict[str, Any]:
    return {"prompt": list(request.prompt_ids), **_openai(request, model)}


def _chat(request: BenchRequest, model: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": request.prompt_text}], **_openai(request, model)}


def _vllm(request: BenchRequest, model: str) -> dict[str, Any]:
    body = {"prompt": request.prompt_text, "max_tokens": request.output_len, "ignore_eos": True, "stream": True}
    return {**body, **_sampling(request)}


def _tgi(request: BenchRequest, model: str) -> dict[str, Any]:
    parameters = {"max_new_tokens": request.output_len, "details": True, "ignore_eos": True}
    return {"inputs": request.prompt_text, "parameters": parameters}


def _triton(request: BenchRequest, model: str) -> dict[str, Any]:
    parameters = {
        "max_tokens": request.output_len,
        "ignore_eos": True,
        "return_num_output_tokens": True,
        **_sampling(request),
    }
    return {"text_input": request.prompt_text, "stream": True, "parameters": parameters}


def _mindie(request: BenchRequest, model: str) -> dict[str, Any]:
    parameters = {"max_new_tokens": request.output_len, "details": True, "ignore_eos": True}
    return {"input_id": list(request.prompt_ids), "stream": True, "parameters": parameters}


_USAGE = re.compile(rb'"completion_tokens": ?(\d+)')
_GENERATED = re.compile(rb'"generated_tokens": ?(\d+)')
_CHOICE = re.compile(rb'"index": ?(\d+)')

_ALL = (
    Wire("openai", "/v1/completions", _completion, b"\n\n", re.compile(rb'"text": ?"(?!")'), _USAGE, index=_CHOICE),
    Wire(
        "openai-chat",
        "/v1/chat/completions",
        _chat,
        b"\n\n",
        re.compile(rb'"content": ?"(?!")'),
        _USAGE,
        index=_CHOICE,
    ),
    Wire("vllm", "/generate", _vllm, b"\n", re.compile(rb'"text": ?\['), None),
    Wire("tgi", "/generate_stream", _tgi, b"\n\n", re.compile(rb'"token": ?\{'), _GENERATED, has_choices=False),
    Wire(
        "triton",
        "/v2/models/{model}/generate_stream",
        _triton,
        b"\n\n",
        re.compile(rb'"text_output": ?[\["]'),
        re.compile(rb'"num_output_tokens": ?(\d+|\[[\d, ]+\])'),
        adds_counts=True,
    ),
    Wire("mindie", "/infer", _mindie, b"\n\n", re.compile(rb'"token": ?\{'), _GENERATED, has_choices=False),
)
WIRES = {wire.name: wire for wire in _ALL}

# An object that is an error in one of the dialects, not a text that speaks of one: the key is never nested in a choice.
_ERROR = re.compile(rb'^(?:data:|error:)? ?\{"(?:error|detail|message|object": ?"error)')


class StreamReader:
    """Follows one streamed answer: feeds on bytes and notes when there was text, and how many tokens there were."""

    def __init__(self, wire: Wire, request: BenchRequest) -> None:
        self._wire = wire
        self._request = request
        self._rest = b""
        self._counted = 0
        self._has_count = False
        self._last_of_choice: dict[bytes, float] = {}
        self.first_text_at: float | None = None
        self.last_text_at = 0.0
        self.gaps: list[float] = []
        self.error: str | None = None

    @property
    def num_output_tokens(self) -> int:
        """Tokens that the server says there were, or for dialects without counts those that were asked for."""
        if self._has_count or self._wire.count is not None:
            return self._counted
        return self._request.num_output_tokens if self.first_text_at is not None else 0

    def feed(self, data: bytes, now: float) -> None:
        """Takes what arrived at the time `now`."""
        frames = (self._rest + data if self._rest else data).split(self._wire.delimiter)
        self._rest = frames.pop()
        for frame in frames:
            self._frame(frame, now)

    def close(self, now: float) -> None:
        """The stream has ended; a last frame may lack its delimiter."""
        if self._rest.strip():
            self._frame(self._rest, now)
        self._rest = b""

    def _frame(self, frame: bytes, now: float) -> None:
        wire = self._wire
        if wire.text.search(frame):
            if self.first_text_at is None:
                self.first_text_at = now
            self.last_text_at = now
            choice = b""
            if self._request.num_choices > 1 and wire.index is not None and (found := wire.index.search(frame)):
                choice = found[1]
            before = self._last_of_choice.get(choice)
            # What is read at once arrived at once: a gap of zero would say nothing of the server.
            if before is not None and now > before:
                self.gaps.append(now - before)
            self._last_of_choice[choice] = now
        elif _ERROR.match(frame):
            self.error = frame.decode(errors="replace")[:300]
        if wire.count is not None and (found := wire.count.search(frame)):
            count = sum(map(int, found[1].strip(b"[]").split(b",")))
            self._counted = self._counted + count if wire.adds_counts else count
            self._has_count = True
