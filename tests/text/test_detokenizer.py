from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.text.detokenizer import Detokenizer
from portico.text.tokenizer import Tokenizer, TokenizerLoadError
from tests.byte_tokenizer import build_byte_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return build_byte_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@given(text=st.text())
def test_pieces_joined_are_the_text(tokenizer: Tokenizer, text: str) -> None:
    detokenizer = Detokenizer(tokenizer, skip_special_tokens=False)
    pieces = [detokenizer.feed(token_id) for token_id in tokenizer.encode(text, add_special_tokens=False)]
    assert "".join(pieces) + detokenizer.flush() == text


@given(text=st.text(), shift=st.integers(0, 3))
def test_tokens_read_the_same_when_they_come_again(tokenizer: Tokenizer, text: str, shift: int) -> None:
    """Any ids, also such as cut a character in two: known tokens give what a decoder of all bytes gives."""
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    token_ids = (*token_ids, *token_ids[shift:], *reversed(token_ids), *token_ids)
    expected = b"".join(map(tokenizer.raw, token_ids)).decode("utf-8", "replace")
    for _ in range(2):
        detokenizer = Detokenizer(tokenizer, skip_special_tokens=False, follows=97)
        pieces = [detokenizer.feed(token_id) for token_id in token_ids]
        assert "".join(pieces) + detokenizer.flush() == expected


def test_characters_come_whole(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer, skip_special_tokens=False)
    pieces = [detokenizer.feed(token_id) for token_id in tokenizer.encode("養🙂", add_special_tokens=False)]
    assert pieces == ["", "", "養", "", "", "", "🙂"]


def test_an_unfinished_character_is_replaced_at_the_end(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer, skip_special_tokens=False)
    first, *_ = tokenizer.encode("養", add_special_tokens=False)
    assert detokenizer.feed(first) == ""
    assert detokenizer.flush() == "\ufffd"
    assert detokenizer.flush() == ""


@pytest.mark.parametrize(("skip", "text"), [(True, "ab"), (False, "a<|im_end|>b")])
def test_special_tokens_are_shown_only_when_asked_for(tokenizer: Tokenizer, skip: bool, text: str) -> None:
    detokenizer = Detokenizer(tokenizer, skip_special_tokens=skip)
    token_ids = tokenizer.encode("a<|im_end|>b", add_special_tokens=False)
    assert len(token_ids) == 3
    assert "".join(map(detokenizer.feed, token_ids)) == text


def test_raw_bytes_are_each_tokens_own(tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode("é\n<|im_start|>", add_special_tokens=False)
    assert [tokenizer.raw(token_id) for token_id in token_ids] == [b"\xc3", b"\xa9", b"\n", b"<|im_start|>"]
    assert tokenizer.raw(10**6) == b""


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_a_broken_tokenizer_is_one_sentence(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerLoadError, match="tokenizer"):
        Tokenizer.load(tmp_path)
