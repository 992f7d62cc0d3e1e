"""What lm-evaluation-harness sends to completions, word for word, against what transformers computes.

The requests were recorded from `local-completions` of lm_eval 0.4.13 at work on the tasks in `tests/clients`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from transformers import AutoModelForCausalLM

from portico.checkpoint import DEMO_PATH
from portico.text.tokenizer import Tokenizer
from tests.end_to_end.server import RunningServer

pytestmark = pytest.mark.xdist_group("demo")

REQUESTS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("lm_eval_requests.json").read_text("utf-8"))
ANSWERS = {
    5480: "The primary colors of light are red, green and blue.",
    965: "光的三原色是红、绿、蓝。",
}


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(DEMO_PATH, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(DEMO_PATH)


def ask(server: RunningServer, body: dict[str, Any]) -> list[Any]:
    answer = httpx.post(f"{server.base_url}/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return sorted(answer.json()["choices"], key=lambda choice: int(choice["index"]))


def prompts_of(body: dict[str, Any], tokenizer: Tokenizer) -> list[list[int]]:
    prompt = body["prompt"]
    return [list(tokenizer.encode(prompt, True))] if isinstance(prompt, str) else prompt


@pytest.mark.parametrize("body", [each for each in REQUESTS if each.get("echo")])
def test_log_probabilities_are_those_of_the_model(
    demo_server: RunningServer, model: Any, tokenizer: Tokenizer, body: dict[str, Any]
) -> None:
    prompts = prompts_of(body, tokenizer)
    for ids, choice in zip(prompts, ask(demo_server, body), strict=True):
        with torch.inference_mode():
            logprobs = model(torch.tensor([ids])).logits[0].float().log_softmax(1)
        # The harness leaves out the one token that is generated, and finds its own tokens at their places.
        given = choice["logprobs"]["token_logprobs"][1:-1]
        expected = [float(logprobs[place, token_id]) for place, token_id in enumerate(ids[1:])]
        assert given == pytest.approx(expected, abs=1e-3)
        tops = choice["logprobs"]["top_logprobs"][1:-1]
        is_greedy = [logprob == max(top.values()) for logprob, top in zip(given, tops, strict=True)]
        best = logprobs.argmax(1).tolist()
        assert is_greedy == [best[place] == token_id for place, token_id in enumerate(ids[1:])]


@pytest.mark.parametrize("body", [each for each in REQUESTS if not each.get("echo")])
def test_texts_end_where_they_must(demo_server: RunningServer, tokenizer: Tokenizer, body: dict[str, Any]) -> None:
    for ids, choice in zip(prompts_of(body, tokenizer), ask(demo_server, body), strict=True):
        assert (choice["text"], choice["finish_reason"]) == (ANSWERS[ids[0]], "stop")
