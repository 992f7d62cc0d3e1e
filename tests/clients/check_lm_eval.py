"""lm-evaluation-harness on toy tasks, in each way in which it asks for log-probabilities and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lm_eval
import pytest

DATA = Path(__file__).parent / "tasks"


def _task(name: str, **fields: Any) -> dict[str, Any]:
    """A task over one of the files; it is complete, so that nothing is looked for on a hub."""
    files = {"data_files": str(DATA / f"{name}.jsonl")}
    return {"task": name, "dataset_path": "json", "dataset_kwargs": files, "test_split": "train", **fields}


TASKS = [
    _task(
        "choices",
        output_type="multiple_choice",
        doc_to_text="{{question}}",
        doc_to_choice="{{choices}}",
        doc_to_target="answer",
        metric_list=[{"metric": "acc"}],
    ),
    _task(
        "answers",
        output_type="generate_until",
        doc_to_text="{{question}}",
        doc_to_target="{{answer}}",
        generation_kwargs={"until": ["\n\n"], "max_gen_toks": 32},
        metric_list=[{"metric": "exact_match"}],
    ),
    _task(
        "texts",
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{text}}",
        metric_list=[{"metric": "bits_per_byte"}],
    ),
]
# Of the demo model, as transformers evaluates it too.
BITS_PER_BYTE = 0.8034


def evaluate(model: str, tasks: list[dict[str, Any]], batch_size: int = 1, **arguments: Any) -> dict[str, float]:
    """The value of every metric, by task."""
    found = lm_eval.simple_evaluate(
        model=model,
        model_args={"model": "portico-demo", "max_length": 512, **arguments},
        tasks=tasks,
        batch_size=batch_size,
        bootstrap_iters=0,
        apply_chat_template=model == "local-chat-completions",
    )
    metrics = {"choices": "acc", "answers": "exact_match", "texts": "bits_per_byte"}
    return {name: values[f"{metrics[name]},none"] for name, values in found["results"].items()}


@pytest.mark.parametrize(
    "way",
    [
        {},
        {"batch_size": 4, "num_concurrent": 2},
        {"tokenized_requests": False},
        {"tokenized_requests": False, "batch_size": 4},
    ],
    ids=["ids", "batches-of-ids", "text", "batches-of-text"],
)
def test_completions(base_url: str, checkpoint: Path, way: dict[str, Any]) -> None:
    address = f"{base_url}/completions"
    values = evaluate(
        "local-completions",
        TASKS,
        base_url=address,
        tokenizer=str(checkpoint),
        tokenizer_backend="huggingface",
        **way,
    )
    assert values == {"choices": 1.0, "answers": 1.0, "texts": pytest.approx(BITS_PER_BYTE, abs=5e-4)}


def test_the_servers_tokenizer(base_url: str) -> None:
    values = evaluate("local-completions", TASKS, base_url=f"{base_url}/completions", tokenizer_backend="auto")
    assert values == {"choices": 1.0, "answers": 1.0, "texts": pytest.approx(BITS_PER_BYTE, abs=5e-4)}


def test_chat_completions(base_url: str) -> None:
    address = f"{base_url}/chat/completions"
    (task,) = (each for each in TASKS if each["task"] == "answers")
    assert evaluate("local-chat-completions", [task], base_url=address) == {"answers": 1.0}
