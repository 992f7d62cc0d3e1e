"""The dialects as the checks speak them: requests as bytes, and the text of an answer, streamed or whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from reliability.client import encode_request

MODEL = "portico-demo"
# Goes on until there are as many tokens as were asked for; Anthropic's wire has no such field.
ENDLESS = (("ignore_eos", True),)


class ErrorFrame(Exception):
    """A stream ended with an error; the message is what it said."""


@dataclass(frozen=True, slots=True)
class SpokenDialect:
    """How one dialect asks for text.

    Attributes:
        path: of whole answers and of streams.
        body: of a prompt, the number of tokens, and whether a stream is wanted.
        read_whole: the text of a parsed answer.
        read_stream: the text of the parsed frames of a stream; it raises `ValueError` when the end is missing.
        has_error: whether a parsed body has the dialect's shape of errors.
    """

    name: str
    path: tuple[str, str]
    body: Callable[[str, int, bool], dict[str, Any]]
    read_whole: Callable[[Any, str], str]
    read_stream: Callable[[list[Any], str], str]
    has_error: Callable[[Any], bool]

    def is_error(self, body: bytes) -> bool:
        """Whether a body is an error in the dialect's own shape."""
        try:
            parsed = json.loads(body)
        except ValueError:
            return False
        return isinstance(parsed, dict) and self.has_error(parsed)


@dataclass(frozen=True, slots=True)
class Spoken:
    """One request in one dialect.

    Attributes:
        expected: its text when nothing disturbs it.
        extra: fields besides, where the dialect has its parameters.
    """

    dialect: SpokenDialect
    prompt: str
    num_tokens: int
    is_streamed: bool
    expected: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    extra: tuple[tuple[str, Any], ...] = ()

    @property
    def message(self) -> bytes:
        """The bytes of the request."""
        body = self.dialect.body(self.prompt, self.num_tokens, self.is_streamed)
        body.get("parameters", body).update(self.extra)
        return encode_request("POST", self.dialect.path[self.is_streamed], body, dict(self.headers))

    def read(self, body: bytes) -> str:
        """The text of a successful answer.

        Raises:
            ErrorFrame: it ended with an error.
            ValueError, LookupError, TypeError: it is none of the dialect's answers, or has no end.
        """
        if not self.is_streamed:
            return self.dialect.read_whole(json.loads(body), self.prompt)
        frames = list(_frames(body))
        for frame in frames:
            if isinstance(frame, dict) and ("error" in frame or frame.get("type") == "error"):
                raise ErrorFrame(json.dumps(frame, ensure_ascii=False))
        return self.dialect.read_stream(frames, self.prompt)

    def describe(self) -> str:
        """The request in a few words."""
        return f"{self.dialect.name} {'streamed' if self.is_streamed else 'whole'} {self.prompt[:20]!r}"

    def expecting(self, text: str) -> Spoken:
        """The same request, whose text is known now."""
        return replace(self, expected=text)


def _frames(body: bytes) -> Iterator[Any]:
    """The parsed data of each frame, `[DONE]` as that string; a line without JSON is no frame of any dialect."""
    for line in body.decode().split("\n"):
        data = line.removeprefix("data:").strip()
        if not data or line.startswith((":", "event:")):
            continue
        yield data if data == "[DONE]" else json.loads(data)


def _require_end(is_there: bool) -> None:
    if not is_there:
        raise ValueError("the stream has no end")


def _openai_body(fields: dict[str, Any], num_tokens: int, is_streamed: bool) -> dict[str, Any]:
    return {**fields, "model": MODEL, "max_tokens": num_tokens, "temperature": 0, "stream": is_streamed}


def _messages(prompt: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}]}


def _read_openai_stream(frames: list[Any], pick: Callable[[Any], str]) -> str:
    _require_end(frames[-1:] == ["[DONE]"])
    choices = [each["choices"][0] for each in frames[:-1] if each["choices"]]
    _require_end(any(choice["finish_reason"] for choice in choices))
    return "".join(map(pick, choices))


def _read_vllm(parsed: Any, prompt: str) -> str:
    text: str = parsed["text"][0]
    if not text.startswith(prompt):
        raise ValueError(f"the text does not begin with the prompt: {text!r}")
    return text[len(prompt) :]


def _read_triton(parsed: Any, prompt: str) -> str:
    text: str = parsed["text_output"]
    return text.removeprefix(prompt)


def _read_last_text(frames: list[Any], prompt: str) -> str:
    """TGI and MindIE give the whole text once more with the last token."""
    _require_end(bool(frames) and frames[-1].get("generated_text") is not None)
    text: str = frames[-1]["generated_text"]
    return text


def _read_anthropic(parsed: Any, prompt: str) -> str:
    return "".join(each["text"] for each in parsed["content"])


def _read_anthropic_stream(frames: list[Any], prompt: str) -> str:
    _require_end(bool(frames) and frames[-1]["type"] == "message_stop")
    return "".join(each["delta"]["text"] for each in frames if each["type"] == "content_block_delta")


def _has_error_object(parsed: Any) -> bool:
    error = parsed.get("error")
    return isinstance(error, dict) and isinstance(error.get("message"), str) and "type" in error


def _has_error_sentence(parsed: Any) -> bool:
    return isinstance(parsed.get("error"), str)


def _has_error_type(parsed: Any) -> bool:
    return _has_error_sentence(parsed) and isinstance(parsed.get("error_type"), str)


CHAT = SpokenDialect(
    "openai-chat",
    ("/v1/chat/completions",) * 2,
    lambda prompt, num_tokens, is_streamed: _openai_body(_messages(prompt), num_tokens, is_streamed),
    lambda parsed, prompt: str(parsed["choices"][0]["message"]["content"]),
    lambda frames, prompt: _read_openai_stream(frames, lambda choice: choice["delta"].get("content") or ""),
    _has_error_object,
)
COMPLETION = SpokenDialect(
    "openai",
    ("/v1/completions",) * 2,
    lambda prompt, num_tokens, is_streamed: _openai_body({"prompt": prompt}, num_tokens, is_streamed),
    lambda parsed, prompt: str(parsed["choices"][0]["text"]),
    lambda frames, prompt: _read_openai_stream(frames, lambda choice: choice["text"]),
    _has_error_object,
)
VLLM = SpokenDialect(
    "vllm",
    ("/generate",) * 2,
    lambda prompt, num_tokens, is_streamed: {
        "prompt": prompt,
        "max_tokens": num_tokens,
        "temperature": 0,
        "stream": is_streamed,
    },
    _read_vllm,
    lambda frames, prompt: _read_vllm(frames[-1], prompt),
    _has_error_object,
)
TGI = SpokenDialect(
    "tgi",
    ("/generate", "/generate_stream"),
    lambda prompt, num_tokens, is_streamed: {"inputs": prompt, "parameters": {"max_new_tokens": num_tokens}},
    lambda parsed, prompt: str(parsed["generated_text"]),
    _read_last_text,
    _has_error_type,
)
TRITON = SpokenDialect(
    "triton",
    (f"/v2/models/{MODEL}/generate", f"/v2/models/{MODEL}/generate_stream"),
    lambda prompt, num_tokens, is_streamed: {
        "text_input": prompt,
        "stream": is_streamed,
        "parameters": {"max_tokens": num_tokens, "temperature": 0},
    },
    _read_triton,
    lambda frames, prompt: "".join(each["text_output"] for each in frames),
    _has_error_sentence,
)
MINDIE = SpokenDialect(
    "mindie",
    ("/infer",) * 2,
    lambda prompt, num_tokens, is_streamed: {
        "inputs": prompt,
        "stream": is_streamed,
        "parameters": {"max_new_tokens": num_tokens},
    },
    lambda parsed, prompt: str(parsed["generated_text"]),
    _read_last_text,
    _has_error_type,
)
ANTHROPIC = SpokenDialect(
    "anthropic",
    ("/v1/messages",) * 2,
    lambda prompt, num_tokens, is_streamed: _openai_body(_messages(prompt), num_tokens, is_streamed),
    _read_anthropic,
    _read_anthropic_stream,
    lambda parsed: parsed.get("type") == "error" and _has_error_object(parsed),
)
DIALECTS = (CHAT, COMPLETION, VLLM, TGI, TRITON, MINDIE, ANTHROPIC)
