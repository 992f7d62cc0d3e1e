"""Every request is put into exactly one class."""

from __future__ import annotations

import json

import pytest

from reliability.client import Answer, End
from reliability.outcome import Kind, classify
from reliability.spoken import ANTHROPIC, CHAT, DIALECTS, TGI, VLLM, Spoken, SpokenDialect

STREAM = Spoken(CHAT, "Hi", 2, is_streamed=True, expected="ab")
WHOLE = Spoken(CHAT, "Hi", 2, is_streamed=False, expected="ab")


def frames(*payloads: object, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(each)}\n\n" for each in payloads]
    return "".join([*lines, "data: [DONE]\n\n"] if done else lines).encode()


def chunk(text: str, finish_reason: str | None = None) -> dict[str, object]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish_reason}]}


GOOD = frames(chunk("a"), chunk("b"), chunk("", "length"))


@pytest.mark.parametrize(
    ("spoken", "answer", "kind"),
    [
        (STREAM, Answer(0, End.COMPLETE, 200, body=GOOD), Kind.OK),
        (STREAM, Answer(0, End.COMPLETE, 200, body=frames(chunk("a"), chunk("", "length"))), Kind.WRONG_TEXT),
        (STREAM, Answer(0, End.COMPLETE, 200, body=frames(chunk("a"), chunk("b"))), Kind.WRONG_TEXT),
        (STREAM, Answer(0, End.COMPLETE, 200, body=frames(chunk("ab", "stop"), done=False)), Kind.WRONG_TEXT),
        (STREAM, Answer(0, End.COMPLETE, 200, body=frames(chunk("a"), {"error": {"message": "x"}})), Kind.STREAM_ERROR),
        (STREAM, Answer(0, End.COMPLETE, 200, body=b"data: {"), Kind.WRONG_TEXT),
        (STREAM, Answer(0, End.COMPLETE, 200), Kind.WRONG_TEXT),
        (STREAM, Answer(0, End.LOST, 200, body=GOOD[:-20]), Kind.RESET),
        (STREAM, Answer(0, End.REFUSED), Kind.RESET),
        (STREAM, Answer(0, End.LATE, 200, body=GOOD[:-20]), Kind.HUNG),
        (STREAM, Answer(0, End.LEFT, 200), Kind.CANCELLED),
        (WHOLE, Answer(0, End.COMPLETE, 200, body=b'{"choices":[{"message":{"content":"ab"}}]}'), Kind.OK),
        (WHOLE, Answer(0, End.COMPLETE, 200, body=b'{"choices":[{"message":{"content":"xy"}}]}'), Kind.WRONG_TEXT),
        (WHOLE, Answer(0, End.COMPLETE, 400), Kind.CLIENT_ERROR),
        (WHOLE, Answer(0, End.COMPLETE, 429), Kind.OVER_QUOTA),
        (WHOLE, Answer(0, End.COMPLETE, 503), Kind.UNAVAILABLE),
        (WHOLE, Answer(0, End.COMPLETE, 529), Kind.UNAVAILABLE),
        (WHOLE, Answer(0, End.COMPLETE, 504), Kind.TIMED_OUT),
        (WHOLE, Answer(0, End.COMPLETE, 500), Kind.SERVER_ERROR),
    ],
)
def test_an_answer_is_in_its_class(spoken: Spoken, answer: Answer, kind: Kind) -> None:
    assert classify(spoken, answer).kind is kind


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_an_error_is_told_by_the_shape_of_its_dialect(dialect: SpokenDialect) -> None:
    assert not dialect.is_error(b"no JSON")
    assert not dialect.is_error(b'{"detail": "not found"}')
    assert not dialect.is_error(b"[]")


def test_dialects_do_not_take_each_others_errors() -> None:
    of_openai = b'{"error": {"message": "x", "type": "y"}}'
    of_tgi = b'{"error": "x", "error_type": "y"}'
    assert CHAT.is_error(of_openai)
    assert VLLM.is_error(of_openai)
    assert not CHAT.is_error(of_tgi)
    assert TGI.is_error(of_tgi)
    assert not TGI.is_error(of_openai)
    assert not ANTHROPIC.is_error(of_openai)


def test_a_refusal_says_when_to_try_again() -> None:
    body = b'{"error": {"message": "x", "type": "y"}}'
    told = {
        value: classify(WHOLE, Answer(0, End.COMPLETE, 503, {"retry-after": value}, body)).is_native_refusal
        for value in ("1", "60", "0", "61", "soon", "")
    }
    assert told == {"1": True, "60": True, "0": False, "61": False, "soon": False, "": False}
    assert not classify(WHOLE, Answer(0, End.COMPLETE, 503, {"retry-after": "1"}, b"busy")).is_native_refusal
