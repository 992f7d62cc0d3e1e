"""What all dialects share: reading JSON into fields, and the checks with their sentences."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest

from portico.core.errors import InvalidParameter, MalformedRequest
from portico.dialects import wire


class _Inner(msgspec.Struct):
    count: int
    words: list[str] = []


class _Outer(msgspec.Struct):
    inner: _Inner | None = None


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not valid JSON"),
        (b'{"a":}', "not valid JSON"),
        (b'"\xff"', "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_bodies_that_are_no_objects(body: bytes, sentence: str) -> None:
    with pytest.raises(MalformedRequest, match=sentence):
        wire.decode_object(body)


@pytest.mark.parametrize(
    ("fields", "scope", "name", "is_missing"),
    [
        ({"inner": {"count": "1"}}, "", "inner.count", False),
        ({"inner": {"count": "1"}}, "parameters", "parameters.inner.count", False),
        ({"inner": {}}, "", "inner.count", True),
        ({"inner": {"count": 1, "words": [2]}}, "", "inner.words[0]", False),
    ],
)
def test_mismatches_name_the_field(fields: dict[str, object], scope: str, name: str, is_missing: bool) -> None:
    with pytest.raises(wire.SchemaMismatch) as mismatch:
        wire.convert(fields, _Outer, scope)
    assert (mismatch.value.name, mismatch.value.is_missing) == (name, is_missing)
    assert str(mismatch.value).startswith(f"`{name}`: ")
    assert str(mismatch.value).endswith(".")


@pytest.mark.parametrize("value", [0, 1, 0.5])
def test_between(value: float) -> None:
    wire.require_between("x", value, 0, 1)


@pytest.mark.parametrize(
    ("value", "high", "without_low", "sentence"),
    [
        (-1, 1, False, "`x` must be at least 0 and at most 1, got -1."),
        (2, 1, False, "`x` must be at least 0 and at most 1, got 2."),
        (0, 1, True, "`x` must be greater than 0 and at most 1, got 0."),
        (-1, None, False, "`x` must be at least 0, got -1."),
        (float("inf"), None, False, "`x` must be at least 0, got inf."),
        (float("nan"), None, False, "`x` must be at least 0, got nan."),
    ],
)
def test_not_between(value: float, high: float | None, without_low: bool, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as refusal:
        wire.require_between("x", value, 0, high, without_low=without_low)
    assert str(refusal.value) == sentence


def test_biases() -> None:
    assert wire.token_biases("b", {"7": -1.5, "007": 2}, 2, 2) == ((7, -1.5), (7, 2))
    assert wire.token_biases("b", None, 2, 2) == ()
    for key in ("", "-1", "1.0", "٣", "1\n", "9" * 19):
        with pytest.raises(InvalidParameter, match="must be token ids"):
            wire.token_biases("b", {key: 1}, 2, 2)


def test_lists_have_an_end() -> None:
    long = "x" * (wire.MAX_WORD_LENGTH + 1)
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: wire.token_biases("b", {"1": 1, "2": 1, "3": 1}, 2, 2), "`b` can have at most 2 token ids, got 3."),
        (lambda: wire.token_ids("ids", [1, 1, 1], 2), "`ids` can have at most 2 token ids, got 3."),
        (lambda: wire.stop_strings("stop", ["a", "b"], 1), "`stop` can have at most 1 strings, got 2."),
        (lambda: wire.stop_strings("stop", long, 1), "Texts in `stop` can have at most 1024 characters, got 1025."),
        (lambda: wire.banned_words("w", ["a"] * 129), "`w` can have at most 128 strings, got 129."),
        (lambda: wire.banned_words("w", [long]), "Texts in `w` can have at most 1024 characters, got 1025."),
        (
            lambda: wire.require_few_messages("m", [{"content": [{}, {}]}, {"content": "a"}], 3),
            "`m` can have at most 3 messages and parts of content together, got 4.",
        ),
    ]
    for decode, sentence in refused:
        with pytest.raises(InvalidParameter) as refusal:
            decode()
        assert str(refusal.value) == sentence
    assert len(wire.token_ids("prompt", [1] * 5000)) == 5000
    assert wire.stop_strings("stop", long[1:], 1) == (long[1:],)
    wire.require_few_messages("m", [{"content": [{}, {}]}], 3)


def test_one_line_says_the_same() -> None:
    text = "a\u2028b\u2029c\u0085d\n早"
    encoded = wire.one_line(wire.encode_json(text))
    assert json.loads(encoded) == text
    assert encoded.decode().splitlines() == [encoded.decode()]
    assert wire.one_line(b'"plain"') == b'"plain"'


@pytest.mark.parametrize(
    ("body", "name", "sentence"),
    [
        (
            b'{"a": {"b": [1, -9223372036854775809]}}',
            "a.b[1]",
            "at least -9223372036854775808, got -9223372036854775809.",
        ),
        (b'{"a": 18446744073709551616}', "a", "at most 18446744073709551615, got 18446744073709551616."),
        (b'{"a": 1' + b"0" * 400 + b"}", "a", "got 1000000000000000000000000000000000000000..."),
    ],
)
def test_integers_have_an_end(body: bytes, name: str, sentence: str) -> None:
    with pytest.raises(wire.IntegerOutOfRange) as refusal:
        wire.decode_object(body)
    assert refusal.value.name == name
    assert sentence in str(refusal.value)
    assert isinstance(wire.read_object(body), dict)


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 10_000])
def test_lists_that_are_encoded_in_slices_say_the_same(size: int) -> None:
    values = [{"id": each, "text": "é]"} for each in range(size)]
    assert wire.encode_json({"a": wire.encode_list(iter(values))}) == wire.encode_json({"a": values})
