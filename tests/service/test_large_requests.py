"""What takes long is done in threads: the tokens of long prompts, and the text of many ids."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pytest

from portico.core.engine import TokenLogprobs
from portico.core.errors import InvalidParameter, TimedOut
from portico.core.events import Event, Token, fold
from portico.core.request import DetokenizeRequest
from portico.service import conversion, generation
from portico.service.choice import TokenReader
from portico.service.generation import GenerationService
from portico.text.tokenizer import Tokenizer
from tests.requests import make_request
from tests.service.conftest import Bench

_PROMPTS = ("a" * 60, "bcd" * 20)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Where tokens were described and ids decoded."""
    names: set[str] = set()
    describe = TokenReader.describe

    def note(self: TokenReader, token_id: int, text: str, logprobs: TokenLogprobs | None) -> Token:
        names.add(threading.current_thread().name)
        return describe(self, token_id, text, logprobs)

    monkeypatch.setattr(TokenReader, "describe", note)
    return names


async def _events(service: GenerationService, **request: object) -> list[Event]:
    asked = make_request(*_PROMPTS, output={"prompt_logprobs": 2}, **request)  # type: ignore[arg-type]
    async with aclosing(service.generate(asked)) as batches:
        return [event async for batch in batches for event in batch]


async def test_long_prompts_are_described_in_a_thread_as_they_are_at_once(
    bench: Bench, threads: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await bench.start()
    here = fold(await _events(service))
    assert threads == {threading.current_thread().name}
    threads.clear()
    # Both prompts together, with two alternatives to each token.
    monkeypatch.setattr(generation, "_MANY_DESCRIBED", 360)
    there = fold(await _events(service))
    assert threads
    assert threading.current_thread().name not in threads
    assert there.prompts == here.prompts
    assert [len(prompt) for prompt in there.prompts] == [60, 60]
    threads.clear()
    monkeypatch.setattr(generation, "_MANY_DESCRIBED", 361)
    await _events(service)
    assert threads == {threading.current_thread().name}


async def test_what_ends_while_prompts_are_described_ends_as_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "_MANY_DESCRIBED", 1)
    service = await bench.start()
    describe, loop = TokenReader.describe, asyncio.get_running_loop()

    def describe_and_break_off(self: TokenReader, token_id: int, text: str, logprobs: TokenLogprobs | None) -> Token:
        loop.call_soon_threadsafe(service.break_off, TimedOut(1.0))
        return describe(self, token_id, text, logprobs)

    monkeypatch.setattr(TokenReader, "describe", describe_and_break_off)
    with pytest.raises(TimedOut):
        await _events(service)
    assert bench.engine.stats().num_running == 0


@pytest.mark.parametrize(("many", "is_here"), [(100, True), (3, False)])
async def test_many_ids_are_decoded_in_a_thread(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, many: int, is_here: bool
) -> None:
    await bench.start()
    names: set[str] = set()
    tokenizer = bench.tokenizer
    decode = type(tokenizer).decode

    def note(self: Tokenizer, token_ids: tuple[int, ...], skip_special_tokens: bool) -> str:
        names.add(threading.current_thread().name)
        return decode(self, token_ids, skip_special_tokens)

    monkeypatch.setattr(type(tokenizer), "decode", note)
    monkeypatch.setattr(conversion, "_THREAD_TOKENS", many)
    ids = tokenizer.encode("hello", add_special_tokens=False)
    request = DetokenizeRequest(None, ids, skip_special_tokens=False)
    assert await bench.converter.detokenize(request) == "hello"
    assert (names == {threading.current_thread().name}) is is_here
    with pytest.raises(InvalidParameter, match="out of vocabulary"):
        await bench.converter.detokenize(DetokenizeRequest(None, (*ids, 10**6), skip_special_tokens=False))
