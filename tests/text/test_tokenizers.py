"""Each kind of tokenizer against the rules of the code that the checkpoints came with."""

from __future__ import annotations

import base64
import json
import threading
import time
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import regex
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from portico.checkpoint import DEMO_PATH
from portico.text.detokenizer import Detokenizer
from portico.text.tokenizer import Tokenizer, TokenizerLoadError
from tests.vocabularies import TEXTS, write_baichuan, write_llama_json, write_sentencepiece, write_tiktoken

QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
Write = Callable[[Path], Path]
KINDS: dict[str, Write] = {
    "tiktoken": write_tiktoken,
    "baichuan-1": lambda path: write_baichuan(path, 1),
    "baichuan-2": write_baichuan,
    "llama-2": lambda path: write_sentencepiece(path, {"bos_token": {"content": "<s>"}, "eos_token": "</s>"}),
    "llama-2-not-legacy": lambda path: write_sentencepiece(path, {"legacy": False}),
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in KINDS.items()}


@pytest.fixture(scope="module")
def loaded(checkpoints: dict[str, Path]) -> dict[str, Tokenizer]:
    return {name: Tokenizer.load(path) for name, path in checkpoints.items()}


@pytest.fixture(params=KINDS)
def tokenizer(request: pytest.FixtureRequest, loaded: dict[str, Tokenizer]) -> Tokenizer:
    return loaded[request.param]


def processor(checkpoint: Path) -> Any:
    return sentencepiece.SentencePieceProcessor(model_file=str(checkpoint / "tokenizer.model"))


def detokenized(tokenizer: Tokenizer, token_ids: tuple[int, ...]) -> str:
    detokenizer = Detokenizer(tokenizer, skip_special_tokens=False)
    return "".join(map(detokenizer.feed, token_ids)) + detokenizer.flush()


def qwen_ids(checkpoint: Path, text: str) -> list[int]:
    """The rules of byte pair encoding and of Qwen's tokenizer, one after another."""
    lines = (checkpoint / "qwen.tiktoken").read_text().split()
    ranks = {base64.b64decode(token): int(rank) for token, rank in zip(lines[::2], lines[1::2], strict=True)}
    special = {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645}
    special |= {f"<|extra_{number}|>": 151646 + number for number in range(205)}
    found = []
    boundary = "(" + "|".join(map(regex.escape, special)) + ")"
    for part in regex.split(boundary, unicodedata.normalize("NFC", text)):
        if part in special:
            found.append(special[part])
            continue
        for word in regex.findall(QWEN_PATTERN, part):
            pieces = [bytes([byte]) for byte in word.encode()]
            while len(pieces) > 1:
                joined = [one + other for one, other in pairwise(pieces)]
                rank, place = min((ranks.get(pair, 10**9), place) for place, pair in enumerate(joined))
                if rank == 10**9:
                    break
                pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
            found += [ranks[piece] for piece in pieces]
    return found


@pytest.mark.parametrize("text", [*TEXTS, "<|im_start|>user\n你好<|im_end|>\n<|endoftext|><|extra_204|><|extra_205|>"])
def test_qwen_ids_are_those_of_its_rules(checkpoints: dict[str, Path], loaded: dict[str, Tokenizer], text: str) -> None:
    expected = tuple(qwen_ids(checkpoints["tiktoken"], text))
    assert loaded["tiktoken"].encode(text, add_special_tokens=True) == expected
    assert loaded["tiktoken"].encode(text, add_special_tokens=False) == expected
    assert loaded["tiktoken"].decode(expected, skip_special_tokens=False) == unicodedata.normalize("NFC", text)


def test_qwens_control_tokens_have_their_own_ids(loaded: dict[str, Tokenizer]) -> None:
    tokenizer = loaded["tiktoken"]
    assert [tokenizer.find_special(f"<|{name}|>") for name in ("endoftext", "im_start", "im_end")] == [
        151643,
        151644,
        151645,
    ]
    assert tokenizer.find_special("<|extra_204|>") == 151850
    assert tokenizer.special_ids == frozenset(range(151643, 151851))
    assert tokenizer.vocab_size == 151851
    assert tokenizer.raw(151644) == b"<|im_start|>"
    assert tokenizer.raw(151851) == b""
    assert tokenizer.decode((151644, *tokenizer.encode("é", False)), skip_special_tokens=True) == "é"


def test_a_million_spaces_are_encoded(loaded: dict[str, Tokenizer]) -> None:
    tokenizer = loaded["tiktoken"]
    token_ids = tokenizer.encode(" " * 1_000_000, add_special_tokens=False)
    assert tokenizer.decode(token_ids, skip_special_tokens=False) == " " * 1_000_000


@pytest.mark.parametrize("kind", ["baichuan-1", "baichuan-2", "llama-2", "llama-2-not-legacy"])
@pytest.mark.parametrize("text", TEXTS)
def test_sentencepiece_ids_are_the_librarys(
    checkpoints: dict[str, Path], loaded: dict[str, Tokenizer], kind: str, text: str
) -> None:
    model = processor(checkpoints[kind])
    token_ids = loaded[kind].encode(text, add_special_tokens=False)
    assert list(token_ids) == model.encode(text)
    assert loaded[kind].decode(token_ids, skip_special_tokens=False) == model.decode(list(token_ids))
    # Baichuan's configuration says that nothing is added; the original code of both adds it otherwise.
    added = (1,) if kind.startswith("llama") else ()
    assert loaded[kind].encode(text, add_special_tokens=True) == (*added, *token_ids)


def test_text_is_cut_at_control_tokens(checkpoints: dict[str, Path], loaded: dict[str, Tokenizer]) -> None:
    text = "<s>one</s> two<unk>three"
    for kind in ("llama-2", "baichuan-1", "baichuan-2"):
        one, two, three = map(processor(checkpoints[kind]).encode, ("one", " two", "three"))
        assert list(loaded[kind].encode(text, add_special_tokens=False)) == [1, *one, 2, *two, 0, *three]


def test_only_the_beginning_has_a_space_where_the_tokenizer_is_not_legacy(
    checkpoints: dict[str, Path], loaded: dict[str, Tokenizer]
) -> None:
    pieces = processor(checkpoints["llama-2-not-legacy"]).id_to_piece
    spelled = [pieces(token_id) for token_id in loaded["llama-2-not-legacy"].encode("a</s>a<s> a", False)]
    assert spelled == ["▁a", "</s>", "a", "<s>", "▁a"]
    spelled = [pieces(token_id) for token_id in loaded["llama-2-not-legacy"].encode("<s>a", False)]
    assert spelled == ["<s>", "a"]


def test_baichuans_reserved_tokens_are_control_tokens(
    checkpoints: dict[str, Path], loaded: dict[str, Tokenizer]
) -> None:
    tokenizer, model = loaded["baichuan-2"], processor(checkpoints["baichuan-2"])
    text = "<reserved_106>光的三原色是什么<reserved_107>"
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    assert token_ids == (195, *model.encode("光的三原色是什么"), 196)
    assert list(token_ids) == model.encode(text)
    assert (tokenizer.find_special("<reserved_106>"), tokenizer.find_special("<reserved_107>")) == (195, 196)
    assert {195, 196} < tokenizer.special_ids
    assert tokenizer.decode(token_ids, skip_special_tokens=True) == "光的三原色是什么"
    first = loaded["baichuan-1"]
    assert (first.find_special("<reserved_102>"), first.find_special("<reserved_103>")) == (195, 196)


def test_what_continues_a_text_keeps_its_space(loaded: dict[str, Tokenizer]) -> None:
    tokenizer = loaded["llama-2"]
    *_, last = tokenizer.encode("my name", add_special_tokens=False)
    token_ids = tokenizer.encode("is a", add_special_tokens=False)
    for follows, expected in ((None, "is a"), (1, "is a"), (last, " is a")):
        detokenizer = Detokenizer(tokenizer, skip_special_tokens=True, follows=follows)
        assert "".join(map(detokenizer.feed, token_ids)) == expected


@settings(max_examples=150, deadline=None)
@given(text=st.text())
def test_encoded_text_comes_back(loaded: dict[str, Tokenizer], text: str) -> None:
    for kind, tokenizer in loaded.items():
        expected = unicodedata.normalize("NFC", text) if kind == "tiktoken" else text
        token_ids = tokenizer.encode(text, add_special_tokens=False)
        # SentencePiece writes spaces as this character, so it cannot tell one from the other, nor keep NUL.
        if kind == "tiktoken" or not {"▁", "\x00"} & set(text):
            assert detokenized(tokenizer, token_ids) == expected


@pytest.mark.parametrize("text", [*TEXTS, "é🙂x  y</s>养"])
def test_spans_are_the_text_cut_into_tokens(tokenizer: Tokenizer, text: str) -> None:
    text = unicodedata.normalize("NFC", text)
    spans = tokenizer.spans(text, add_special_tokens=False)
    assert tuple(span.id for span in spans) == tokenizer.encode(text, add_special_tokens=False)
    data = text.encode()
    for span in spans:
        assert data[span.start : span.end].decode() == span.text
        if span.text and span.id not in tokenizer.special_ids:
            assert tokenizer.raw(span.id) in (" " + span.text).encode()
    starts = [span.start for span in spans]
    assert starts == sorted(starts)
    if text:
        assert {place for span in spans for place in range(span.start, span.end)} == set(range(len(data)))


def test_added_tokens_have_empty_spans(loaded: dict[str, Tokenizer]) -> None:
    first, second, *_ = loaded["llama-2"].spans("a", add_special_tokens=True)
    assert (first.id, first.piece, first.text, first.start, first.end) == (1, "<s>", "", 0, 0)
    assert (second.piece, second.text, second.start, second.end) == ("▁a", "a", 0, 1)


def test_tokens_that_the_model_file_lacks(tmp_path: Path) -> None:
    decoder = {"900": {"content": "<|tool|>", "special": True}, "901": {"content": "<think>", "special": False}}
    config = {"add_eos_token": True, "added_tokens_decoder": decoder, "additional_special_tokens": ["光的"]}
    path = write_sentencepiece(tmp_path, config)
    (path / "special_tokens_map.json").write_text(json.dumps({"pad_token": {"content": "</s>"}}))
    (path / "added_tokens.json").write_text(json.dumps({"<|end|>": 902}))
    tokenizer = Tokenizer.load(path)
    token_ids = tokenizer.encode("<|tool|><think><|end|>", add_special_tokens=True)
    assert token_ids == (1, 900, 901, 902, 2)
    assert tokenizer.special_ids & {900, 901, 902} == {900, 902}
    assert tokenizer.decode(token_ids, skip_special_tokens=True) == "<think>"
    assert tokenizer.vocab_size == 903
    assert tokenizer.raw(900) == b"<|tool|>"
    assert tokenizer.raw(903) == b""
    assert tokenizer.find_special("光的") in tokenizer.special_ids
    assert [span.piece for span in tokenizer.spans("<think>", add_special_tokens=False)] == ["<think>"]


@pytest.fixture(scope="module")
def json_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"byte-level": DEMO_PATH, "llama": write_llama_json(tmp_path_factory.mktemp("llama-json"))}


@pytest.mark.parametrize("kind", ["byte-level", "llama"])
@pytest.mark.parametrize("text", [*TEXTS, "<|im_start|>user\n你好<|im_end|>", "<s>a</s>"])
def test_tokenizer_json_is_read_as_transformers_reads_it(json_files: dict[str, Path], kind: str, text: str) -> None:
    path = json_files[kind]
    reference = cast(Any, PreTrainedTokenizerFast)(tokenizer_file=str(path / "tokenizer.json"))
    tokenizer = Tokenizer.load(path)
    token_ids = tokenizer.encode(text, add_special_tokens=True)
    assert list(token_ids) == reference.encode(text)
    expected = reference.decode(token_ids, skip_special_tokens=True)
    assert tokenizer.decode(token_ids, skip_special_tokens=True) == expected
    detokenizer = Detokenizer(tokenizer, skip_special_tokens=True)
    assert "".join(map(detokenizer.feed, token_ids)) + detokenizer.flush() == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("qwen.tiktoken", b"x", "cannot be read as a tokenizer"),
        ("qwen.tiktoken", b"QQ== 1\n", "has no token for the byte 0"),
        ("qwen.tiktoken", b"QQ== one\n", "cannot be read as a tokenizer"),
        ("tokenizer.model", b"no model", "cannot be read as a tokenizer"),
        ("tokenizer.bin", b"", r"has no tokenizer\.json, qwen\.tiktoken or tokenizer\.model"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TokenizerLoadError, match=message) as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_ranks_that_are_control_tokens_are_refused(tmp_path: Path) -> None:
    path = write_tiktoken(tmp_path) / "qwen.tiktoken"
    path.write_text(path.read_text() + "YWJjZGVmZw== 151643\n")
    with pytest.raises(TokenizerLoadError, match="different numbers below 151643"):
        Tokenizer.load(tmp_path)


def test_a_broken_configuration_is_one_sentence(tmp_path: Path) -> None:
    write_baichuan(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(TokenizerLoadError, match="is not valid JSON"):
        Tokenizer.load(tmp_path)


def test_others_go_on_while_a_long_text_is_tokenised(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_llama_json(tmp_path))
    text = "hello world " * 20_000
    work = threading.Thread(target=tokenizer.encode, args=(text, False))
    waits = []
    work.start()
    while work.is_alive():
        started_at = time.perf_counter()
        time.sleep(0.001)
        waits.append(time.perf_counter() - started_at)
    # Held by the library, the interpreter would be free only before and after the call.
    assert len(waits) > 10


def test_long_texts_have_the_tokens_of_short_ones(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_llama_json(tmp_path))
    text = "".join(TEXTS) * 30
    assert len(text) > 4096
    assert tokenizer.encode(text, True) == tuple(span.id for span in tokenizer.spans(text, True))
