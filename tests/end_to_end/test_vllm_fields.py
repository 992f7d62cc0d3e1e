"""Fields that vLLM adds to OpenAI's: what they do on a started server, and that none is ignored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from portico.checkpoint import DEMO_PATH
from portico.text.tokenizer import Tokenizer
from tests.end_to_end.server import RunningServer
from tests.end_to_end.test_vllm_behaviours import complete

pytestmark = pytest.mark.xdist_group("demo")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(DEMO_PATH)


@pytest.fixture(scope="module")
def site(demo_server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=demo_server.address, timeout=60) as client:
        yield client


def test_narrow_choices_are_the_greedy_one(site: httpx.Client) -> None:
    greedy = complete(site, max_tokens=8)["choices"][0]["text"]
    hot: dict[str, Any] = {"temperature": 2.0, "seed": 3, "max_tokens": 8}
    for narrow in ({"top_k": 1}, {"min_p": 1.0}, {"top_p": 1e-9}, {"logit_bias": {}, "top_k": 1}):
        assert complete(site, **{**hot, **narrow})["choices"][0]["text"] == greedy
    repeated = complete(site, max_tokens=24, ignore_eos=True, return_token_ids=True)["choices"][0]["token_ids"]
    asked: dict[str, Any] = {"max_tokens": 24, "ignore_eos": True, "return_token_ids": True, "repetition_penalty": 1e9}
    varied = complete(site, **asked)["choices"][0]["token_ids"]
    assert len(set(varied)) == 24 > len(set(repeated))


def test_special_tokens_and_their_ends(site: httpx.Client) -> None:
    shown = complete(site, max_tokens=40, skip_special_tokens=False, include_stop_str_in_output=True)["choices"][0]
    hidden = complete(site, max_tokens=40)["choices"][0]
    assert shown["text"].startswith(hidden["text"])
    assert "<|" in shown["text"].removeprefix(hidden["text"])
    num_tokens = complete(site, max_tokens=40)["usage"]["completion_tokens"]
    longer = complete(site, max_tokens=40, min_tokens=num_tokens + 3)["usage"]["completion_tokens"]
    assert longer >= num_tokens + 3


def test_what_is_neither_honoured_nor_ignored(site: httpx.Client) -> None:
    for field, value in (
        ("use_beam_search", True),
        ("length_penalty", 0.5),
        ("early_stopping", True),
        ("priority", 1),
        ("spaces_between_special_tokens", False),
        ("suffix", "end"),
        ("logits_processors", ["f"]),
        ("thinking_token_budget", 5),
        ("repetition_detection", {"min_count": 2}),
        ("vllm_xargs", {"a": 1}),
        ("watermarking", True),
    ):
        error = complete(site, 400, **{field: value})["error"]
        assert (error["param"], error["code"]) == (field, "unsupported_parameter")
        absent: dict[str, Any] = {field: None}
        complete(site, max_tokens=1, **absent)


def test_allowed_tokens_that_contradict_a_grammar(site: httpx.Client, tokenizer: Tokenizer) -> None:
    allowed = list(tokenizer.encode("xylophone", add_special_tokens=False))
    error = complete(site, 400, guided_regex="[0-9]{3}", allowed_token_ids=allowed)["error"]
    assert error["param"] == "guided_regex"
    assert "no text of it can be written with the tokens that may be drawn" in error["message"]
    digits = list(tokenizer.encode("4", add_special_tokens=False))
    assert complete(site, guided_regex="[0-9]{3}", allowed_token_ids=digits)["choices"][0]["text"] == "444"
    # Also where they contradict each other only after a beginning.
    error = complete(site, 400, guided_regex="4a", allowed_token_ids=digits)["error"]
    assert error["param"] == "guided_regex"
    complete(site, max_tokens=1)
