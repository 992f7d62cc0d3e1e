"""Answers that are written in a thread, and sent piece by piece."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import Message

from portico.core.dialect import Reply
from portico.core.events import Event, Prefilled, Result, Token
from portico.core.observer import RequestRecord
from portico.text.tokenizer import Tokenizer
from portico.web import large_replies
from portico.web.sender import Sender
from tests.byte_tokenizer import build_byte_tokenizer
from tests.requests import make_request
from tests.web.fake_dialect import FakeEncoder, FakeExchange
from tests.web.test_endpoint import open_site
from tests.web.test_grpc import open_site as open_grpc_site

_MANY = 100_000
_PIECE = 256 * 1024


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return build_byte_tokenizer(tmp_path_factory.mktemp("checkpoint"))


def _work() -> int:
    """A third of a second of interpreted code, by the thread's own clock."""
    total, started_at = 0, time.thread_time()
    while time.thread_time() - started_at < 0.3:
        total += 1
    return total


async def test_others_have_their_turns_while_a_large_answer_is_written() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await asyncio.sleep(0)
    before = turns
    await large_replies.write(_work, 1)
    assert turns == before
    await large_replies.write(_work, _MANY)
    # The interpreter changes threads every five milliseconds.
    assert turns - before >= 5
    counting.cancel()


def test_entries_are_known_before_an_answer_is_written() -> None:
    record = RequestRecord("id", "first", "/write")
    record.num_prompt_tokens, record.num_output_tokens = 100, 10
    output = make_request("x").output
    assert large_replies.count_entries(output, record) == 10
    assert large_replies.count_entries(replace(output, token_details=True, logprobs=2), record) == 30
    described = replace(output, prompt_details=True, num_choices=2)
    assert large_replies.count_entries(described, record) == 210
    assert large_replies.count_entries(replace(output, prompt_logprobs=3), record) == 410


def test_batches_are_large_by_what_they_say_of_prompts() -> None:
    token = Token(1, "a", b"a", False, None, ())
    assert large_replies.is_large([Prefilled(0, 0, (token,) * _MANY)])
    assert not large_replies.is_large([Prefilled(0, 0, (token,))])
    assert not large_replies.is_large([Prefilled(0, 0, ())])


@pytest.mark.parametrize("many", [1, 100_000])
async def test_whole_answers_are_written_in_a_thread_if_they_are_large(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    names: list[str] = []

    def reply(self: FakeExchange, result: Result) -> Reply:
        names.append(threading.current_thread().name)
        return Reply(200, result.choices[0].text.encode() + b"x" * 3 * _PIECE, "text/plain")

    monkeypatch.setattr(FakeExchange, "reply", reply)
    monkeypatch.setattr(large_replies, "_MANY", many)
    async with open_site(tokenizer) as site:
        whole = await site.client.post("/write", content="hi")
    assert (whole.status_code, whole.content) == (200, b"hello world" + b"x" * 3 * _PIECE)
    assert (names == [threading.current_thread().name]) is (many > 1)


async def test_what_fails_in_a_thread_is_refused_in_the_dialects_shape(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def reply(self: FakeExchange, result: Result) -> Reply:
        raise RuntimeError("a secret of ours")

    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(FakeExchange, "reply", reply)
    monkeypatch.setattr(large_replies, "_MANY", 1)
    async with open_site(tokenizer) as site:
        failed = await site.client.post("/write", content="hi")
    assert (failed.status_code, failed.text) == (500, "first: The server failed on this request.")


async def test_streams_describe_long_prompts_in_a_thread(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    def feed(self: FakeEncoder, events: Sequence[Event]) -> bytes:
        told = b""
        for event in events:
            if isinstance(event, Prefilled):
                names.append(threading.current_thread().name)
                told += b"".join(token.raw for token in event.tokens)
        return told

    def decode(raw: Any) -> FakeExchange:
        return FakeExchange(make_request(raw.body.decode(), output={"prompt_details": True}, stream=True))

    monkeypatch.setattr(FakeEncoder, "feed", feed)
    monkeypatch.setattr("tests.web.fake_dialect.decode", decode)
    monkeypatch.setattr(large_replies, "_MANY", 5)
    async with open_site(tokenizer) as site:
        assert (await site.client.post("/write", content="four")).text == "four|end"
        assert (await site.client.post("/write", content="many of them")).text == "many of them|end"
    here = threading.current_thread().name
    assert [name == here for name in names] == [True, False]


@pytest.mark.parametrize(("method", "size"), [("POST", 10), ("POST", 2 * _PIECE + 7), ("HEAD", 2 * _PIECE)])
async def test_large_answers_are_sent_in_pieces(method: str, size: int) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    names: Mapping[str, str] = {"x-request-id": "r"}
    body = bytes(each % 251 for each in range(size))
    await Sender({"type": "http", "method": method}, send, names).reply(Reply(200, body))
    head, *parts = sent
    assert (b"content-length", str(size).encode()) in head["headers"]
    assert b"".join(part["body"] for part in parts) == (b"" if method == "HEAD" else body)
    assert max(len(part["body"]) for part in parts) <= _PIECE
    assert [part.get("more_body", False) for part in parts] == [True] * (len(parts) - 1) + [False]


async def test_procedures_answer_in_a_thread_too(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    def reply(self: FakeExchange, result: Result) -> Reply:
        names.append(threading.current_thread().name)
        return Reply(200, result.choices[0].text.encode())

    monkeypatch.setattr(FakeExchange, "reply", reply)
    async with open_grpc_site(tokenizer) as site:
        for many in (1000, 5):
            monkeypatch.setattr(large_replies, "_MANY", many)
            assert await site.call("Write")(b"hi") == b"hello world"
    here = threading.current_thread().name
    assert [name == here for name in names] == [True, False]
