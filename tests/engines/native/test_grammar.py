"""Random weights under a grammar: whatever is drawn, the output is what was asked for."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import portico
from portico.core.events import FinishReason
from portico.core.grammar import Grammar, GrammarKind, Vocabulary
from portico.engines.native.config import NativeConfig
from portico.engines.native.engine import NativeEngine
from portico.engines.native.engine_core import EngineCore
from portico.engines.native.grammar import Constraint, GrammarCompiler, GrammarMasks, build_tokenizer
from portico.text.detokenizer import Detokenizer
from portico.text.grammar import prepare_grammar
from portico.text.tokenizer import Tokenizer
from tests.engines.native.conftest import VOCAB_SIZE
from tests.engines.native.core_driver import deliver, drain, run_to_end
from tests.engines.native.jobs import Outcome, collect, job, sampling
from tests.vocabularies import write_baichuan, write_tiktoken

EOS = 3
_FIRST_BYTE = 16
_MERGED = (b'{"', b'":', b", ", b"true", b"false", b"null", b'"}', b"]}", b"  ", b"name", b"age", b"abc", b"\xc3\xa9")
TOKENS = (
    *[b""] * _FIRST_BYTE,
    *(bytes([byte]) for byte in range(256)),
    *_MERGED,
    *[b""] * (VOCAB_SIZE - _FIRST_BYTE - 256 - len(_MERGED)),
)
VOCABULARY = Vocabulary(TOKENS, frozenset((EOS, 5)), None)
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, tuple[dict[str, Any], Callable[[Any], bool]]] = {
    "person": (PERSON, lambda it: set(it) == {"name", "age"} and len(it["name"]) <= 8 and 0 <= it["age"] <= 99),
    "enum": ({"enum": ["red", "green", 3, None]}, lambda it: it in ["red", "green", 3, None]),
    "list": (
        {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
        lambda it: 1 <= len(it) <= 3 and all(isinstance(each, bool) for each in it),
    ),
    "either": (
        {"anyOf": [{"type": "string", "pattern": "^[a-z]{2,4}$"}, {"type": "null"}]},
        lambda it: it is None or re.fullmatch("[a-z]{2,4}", it) is not None,
    ),
    "nested": (
        {
            "type": "object",
            "properties": {"people": {"type": "array", "items": PERSON, "minItems": 1, "maxItems": 2}},
            "required": ["people"],
            "additionalProperties": False,
        },
        lambda it: 1 <= len(it["people"]) <= 2,
    ),
    "recursive": (
        {
            "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 1}},
            "$ref": "#/$defs/tree",
        },
        lambda it: isinstance(it, list),
    ),
}


def schema(content: dict[str, Any], **changes: Any) -> Grammar:
    """A JSON schema as engines take it."""
    return prepare_grammar(Grammar(GrammarKind.JSON_SCHEMA, json.dumps(content), "schema", **changes))


def regex(pattern: str) -> Grammar:
    """A regular expression as engines take it."""
    return prepare_grammar(Grammar(GrammarKind.REGEX, pattern, "regex"))


def text(token_ids: list[int]) -> str:
    """What the tokens spell, without the end."""
    return b"".join(TOKENS[each] for each in token_ids).decode("utf-8", "replace")


@pytest.fixture
def make_knowing_core(make_core: Callable[..., EngineCore]) -> Callable[..., EngineCore]:
    """Like `make_core`, with the vocabulary."""

    def make(**settings: Any) -> EngineCore:
        core = make_core(**settings)
        core.grammars.use(VOCABULARY)
        return core

    return make


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_output_that_is_not_cut_satisfies_its_schema(
    make_knowing_core: Callable[..., EngineCore], name: str
) -> None:
    content, is_valid = SCHEMAS[name]
    grammar = schema(content)
    samplings = [sampling(grammar=grammar), *(sampling(grammar=grammar, temperature=1.5, seed=i) for i in range(8))]
    jobs = [
        job((20, 30 + index), sampling=each, max_tokens=200, stop_token_ids=frozenset((EOS, 5)))
        for index, each in enumerate(samplings)
    ]
    outcomes = run_to_end(make_knowing_core(), jobs)
    ended = [each for each in outcomes if each.finished[0].reason is FinishReason.STOP]
    assert len(ended) >= len(outcomes) // 2
    for outcome in ended:
        assert outcome.failure is None
        assert is_valid(json.loads(text(outcome.token_ids[0])))


def test_a_batch_follows_each_grammar_and_leaves_free_text_alone(make_knowing_core: Callable[..., EngineCore]) -> None:
    free = job((20, 21), max_tokens=12)
    (alone,) = run_to_end(make_knowing_core(), [free])
    samplings = [sampling(grammar=regex(pattern)) for pattern in ("[ab]{5}", "c+d")]
    jobs = [free, *(job((20, 21), max_tokens=40, sampling=each) for each in samplings)]
    beside, first, second = run_to_end(make_knowing_core(), jobs)
    assert beside.token_ids == alone.token_ids
    assert re.fullmatch("[ab]{5}", text(first.token_ids[0]))
    assert re.fullmatch("c+d?", text(second.token_ids[0]))


def test_choices_go_their_own_ways_through_one_grammar(make_knowing_core: Callable[..., EngineCore]) -> None:
    asked = job(
        (20, 21), num_sequences=3, max_tokens=60, sampling=sampling(temperature=2.0, seed=4, grammar=regex("[a-z]{20}"))
    )
    (outcome,) = run_to_end(make_knowing_core(), [asked])
    texts = {text(outcome.token_ids[index]) for index in range(3)}
    assert len(texts) == 3
    assert all(re.fullmatch("[a-z]{20}", each) for each in texts)
    assert {each.reason for each in outcome.finished.values()} == {FinishReason.STOP}


def test_a_preempted_sequence_goes_on_where_it_was(make_knowing_core: Callable[..., EngineCore]) -> None:
    grammar = regex("([a-z]{3}-){20}")
    jobs = [
        job((20 + index, 21), max_tokens=120, sampling=sampling(temperature=1.0, seed=index, grammar=grammar))
        for index in range(4)
    ]
    roomy = run_to_end(make_knowing_core(), jobs)
    block_bytes = 2 * 2 * 2 * 16 * 4 * 16
    core = make_knowing_core(kv_cache_memory=12 * block_bytes, max_model_len=150)
    crowded = run_to_end(core, jobs)
    assert [each.token_ids for each in crowded] == [each.token_ids for each in roomy]
    assert core._scheduler.num_preemptions > 0
    assert all(re.fullmatch("([a-z]{3}-){20}", text(each.token_ids[0])) for each in crowded)


@pytest.mark.parametrize("changes", [{}, {"min_tokens": 30}, {"stop_token_ids": frozenset()}])
def test_the_end_of_the_grammar_ends_the_output_whatever_else_is_asked(
    make_knowing_core: Callable[..., EngineCore], changes: dict[str, Any]
) -> None:
    settings = {"max_tokens": 50, "stop_token_ids": frozenset((EOS,))} | changes
    asked = job((20, 21), sampling=sampling(grammar=regex("abcabc")), **settings)
    (outcome,) = run_to_end(make_knowing_core(), [asked])
    assert text(outcome.token_ids[0]) == "abcabc"
    assert outcome.finished[0].reason is FinishReason.STOP


def test_bans_give_way_to_the_grammar_and_allowed_tokens_do_not(make_knowing_core: Callable[..., EngineCore]) -> None:
    a = _FIRST_BYTE + ord("a")
    grammar = regex("aaa")
    banned = job((20, 21), sampling=sampling(grammar=grammar, banned_sequences=((a,),)))
    excluded = job((20, 21), sampling=sampling(grammar=grammar, allowed_token_ids=(40, 41)))
    both = sampling(grammar=grammar, banned_sequences=((a, a),), allowed_token_ids=(a, a + 1))
    first, second, third = run_to_end(make_knowing_core(), [banned, excluded, job((20, 21), sampling=both)])
    assert text(first.token_ids[0]) == text(third.token_ids[0]) == "aaa"
    assert second.failure is not None
    assert "leave no token" in second.failure


def test_a_grammar_that_grows_too_complex_fails_its_own_request_only(
    make_knowing_core: Callable[..., EngineCore],
) -> None:
    hostile = regex(r"(.{1,100}){1,100}\n")
    jobs = [
        job((20, 21), max_tokens=200, sampling=sampling(temperature=1.0, seed=1, grammar=hostile), num_sequences=2),
        job((20, 22), max_tokens=200, sampling=sampling(temperature=1.0, seed=1)),
    ]
    failed, other = run_to_end(make_knowing_core(), jobs)
    assert failed.failure == "it is too complex to be followed further."
    assert other.failure is None
    assert len(other.token_ids[0]) == 200


def test_an_output_that_is_complete_ends_where_its_grammar_grows_too_complex(
    make_knowing_core: Callable[..., EngineCore],
) -> None:
    pattern = r"([ -~]{1,100}){1,100}"
    asked = job((20, 21), max_tokens=200, sampling=sampling(temperature=1.0, seed=1, grammar=regex(pattern)))
    (outcome,) = run_to_end(make_knowing_core(), [asked])
    assert outcome.failure is None
    assert outcome.finished[0].reason is FinishReason.STOP
    assert len(outcome.token_ids[0]) < 200
    assert re.fullmatch(pattern, text(outcome.token_ids[0]))


def test_an_output_that_no_token_continues_ends_if_it_is_complete_and_fails_otherwise(
    make_core: Callable[..., EngineCore],
) -> None:
    core = make_core()
    unable = {_FIRST_BYTE + ord("x"), _FIRST_BYTE + ord("y")}
    tokens = tuple(b"" if token_id in unable else token for token_id, token in enumerate(TOKENS))
    core.grammars.use(replace(VOCABULARY, tokens=tokens))
    jobs = [
        job((20, 21), sampling=sampling(grammar=regex(pattern)), max_tokens=20, stop_token_ids=frozenset((EOS,)))
        for pattern in ("ab(x|y)", "ab(x|y)?", "abc")
    ]
    dead, complete, beside = run_to_end(core, jobs)
    assert dead.failure == "no token of the model's vocabulary continues it."
    assert text(dead.token_ids[0]) == "ab"
    for outcome, expected in ((complete, "ab"), (beside, "abc")):
        assert outcome.failure is None
        assert text(outcome.token_ids[0]) == expected
        assert outcome.finished[0].reason is FinishReason.STOP


def test_allowed_tokens_end_an_output_that_is_complete(make_knowing_core: Callable[..., EngineCore]) -> None:
    """The token that ends sequences is not among them."""
    allowed = (_FIRST_BYTE + ord("a"), _FIRST_BYTE + ord("b"))
    jobs = [
        job((20, 21), sampling=sampling(grammar=regex(pattern), allowed_token_ids=allowed), max_tokens=20)
        for pattern in ("ab[cd]?", "ab[cd]")
    ]
    complete, dead = run_to_end(make_knowing_core(), jobs)
    assert text(complete.token_ids[0]) == text(dead.token_ids[0]) == "ab"
    assert complete.finished[0].reason is FinishReason.STOP
    assert dead.failure is not None
    assert "leave no token" in dead.failure


def test_jobs_are_aborted_while_their_grammars_are_compiled(
    make_knowing_core: Callable[..., EngineCore], monkeypatch: pytest.MonkeyPatch
) -> None:
    core = make_knowing_core()
    compile_soon, may_go_on = core.grammars.compile, threading.Event()

    def compile_later(grammar: Grammar) -> Constraint:
        assert may_go_on.wait(30)
        return compile_soon(grammar)

    monkeypatch.setattr(core.grammars, "compile", compile_later)
    outcomes = {handle: Outcome() for handle in range(3)}
    for handle in range(2):
        core.add(handle, job((20, 21), num_sequences=2, sampling=sampling(grammar=regex(f"[a-c]{{{handle + 2}}}"))))
    core.add(2, job((20, 22), max_tokens=4))
    while not outcomes[2].finished:
        deliver(core.step(), outcomes)
    assert core.has_work
    core.abort(0, None)
    core.abort(1, 0)
    may_go_on.set()
    drain(core, outcomes)
    assert not core.jobs
    assert outcomes[0] == Outcome()
    assert set(outcomes[1].finished) == {1}
    assert re.fullmatch("[a-c]{3}", text(outcomes[1].token_ids[1]))


def test_a_definition_is_used_where_it_reads_the_tokens_alike() -> None:
    tokenizer = Tokenizer.load(Path(portico.__file__).parent / "demo" / "checkpoint")
    known = tokenizer.vocabulary
    size = tokenizer.vocab_size
    written = '{"temperature": 3}'
    spelt = tokenizer.encode(written, add_special_tokens=False)
    assert build_tokenizer(known, size, (0,)).tokenize_str(written) == list(spelt)
    for changed in (replace(known, definition="{}"), replace(known, tokens=(*known.tokens[:-9], b"other", *[b""] * 8))):
        made = build_tokenizer(changed, size, (0,))
        assert made.decode_str(made.tokenize_str(written)) == written


def test_a_grammar_without_a_vocabulary_fails(make_core: Callable[..., EngineCore]) -> None:
    (outcome,) = run_to_end(make_core(), [job((20, 21), sampling=sampling(grammar=regex("a")))])
    assert outcome.failure is not None
    assert not outcome.token_ids


@pytest.mark.parametrize("width", [VOCAB_SIZE, VOCAB_SIZE - 1, VOCAB_SIZE + 33])
def test_the_vocabulary_may_be_narrower_or_wider_than_the_logits(width: int) -> None:
    made = build_tokenizer(VOCABULARY, width, (EOS,))
    assert made.vocab_size == width + 1
    assert made.eos_tokens == [EOS]
    assert build_tokenizer(VOCABULARY, width, ()).eos_tokens == [width]


async def test_an_engine_takes_grammars_with_a_vocabulary(checkpoint: Path) -> None:
    config = NativeConfig(num_threads=1, device="cpu")
    engine = NativeEngine(checkpoint, config, lambda: VOCABULARY)
    await engine.start(lambda _: None)
    try:
        assert engine.info.takes_grammars
        for _ in range(2):
            outcome = await collect(engine.generate(job((20, 21), sampling=sampling(grammar=regex("[ab]{4}")))))
            assert re.fullmatch("[ab]{4}", text(outcome.token_ids[0]))
    finally:
        await engine.close()


@pytest.mark.parametrize("write", [write_tiktoken, write_baichuan, partial(write_baichuan, generation=1)])
def test_what_the_grammar_allows_is_what_the_client_reads(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    """With a real vocabulary of each file format, and draws that know nothing but the mask."""
    tokenizer = Tokenizer.load(write(tmp_path))
    size = max(tokenizer.vocab_size, *tokenizer.special_ids) + 1
    compiler, masks, chooser = GrammarCompiler(size, ()), GrammarMasks(size), random.Random(3)
    compiler.use(tokenizer.vocabulary)
    for pattern in ('"[a-z ]{10}é"', r"([0-9]{2}\.){3}", "你好|如何养生", r"x\n\n {3}y"):
        constraint = compiler.compile(regex(pattern)).fork()
        detokenizer, written = Detokenizer(tokenizer, skip_special_tokens=True), ""
        while not constraint.is_over:
            scores = torch.zeros(1, size)
            masks.restrict(scores, scores.clone(), [(0, constraint)], [False])
            token_id = chooser.choice(scores[0].isfinite().nonzero().flatten().tolist())
            constraint.advance(token_id)
            written += detokenizer.feed(token_id)
        assert re.fullmatch(pattern, written + detokenizer.flush())
