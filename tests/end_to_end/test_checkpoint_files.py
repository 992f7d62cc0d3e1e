"""Checkpoints whose files do not agree with each other, as clients and operators meet them."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import httpx
import openai
import pytest

from portico.checkpoint import DEMO_PATH
from tests.end_to_end.server import find_worker, run_server
from tests.end_to_end.test_command_line import assert_one_line_error, copy_demo, run


def test_tokens_that_the_model_has_not(tmp_path: Path) -> None:
    """Fine-tuned checkpoints are often given tokens without rows of the embedding for them."""
    copy = copy_demo(tmp_path)
    path = copy / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    kind = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content["added_tokens"].append({"id": 5511, "content": "<|later|>", **kind})
    path.write_text(json.dumps(content), encoding="utf-8")
    with run_server(str(copy), "--served-model-name", "later") as server:
        worker = find_worker(server)
        client = openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)
        with pytest.raises(
            openai.BadRequestError, match=r"has the token <\|later\|> \(5511\), which the model has not"
        ):
            client.chat.completions.create(model="later", messages=[{"role": "user", "content": "a <|later|>"}])
        with pytest.raises(openai.BadRequestError, match="which the model has not"):
            client.completions.create(model="later", prompt=["fine", "not <|later|>"], max_tokens=1)
        answer = httpx.post(f"{server.address}/generate", json={"inputs": "<|later|>"}, timeout=60)
        assert (answer.status_code, "which the model has not" in answer.json()["error"]) == (422, True)
        # What it cannot write need not be kept from it.
        answered = client.completions.create(
            model="later", prompt="hi", max_tokens=3, stop=["<|later|>"], extra_body={"bad_words": ["<|later|>"]}
        )
        assert answered.usage is not None
        assert answered.usage.completion_tokens == 3
        assert find_worker(server) == worker


def test_an_engine_without_a_model_takes_any_token() -> None:
    with run_server("--engine", "scripted", "--vocab-size", "10") as server:
        client = openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)
        answered = client.chat.completions.create(
            model="portico-demo", messages=[{"role": "user", "content": "保持健康"}], max_tokens=1
        )
        assert answered.choices[0].finish_reason == "length"


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    copy = copy_demo(tmp_path)
    path = copy / "model.safetensors"
    data = bytearray(path.read_bytes())
    (size,) = struct.unpack("<Q", data[:8])
    start, _ = json.loads(data[8 : 8 + size])["model.norm.weight"]["data_offsets"]
    data[8 + size + start : 8 + size + start + 4] = struct.pack("<f", float("nan"))
    path.write_bytes(data)
    assert_one_line_error(run("serve", str(copy), "--port", "0"), "model.norm.weight", "no numbers")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", '{"architectures": 7}', "list of names"),
        ("generation_config.json", "[" * 200_000, "not valid JSON"),
        ("tokenizer_config.json", '{"chat_template": [1]}', "as texts with names"),
        ("tokenizer.json", "[" * 200_000, "cannot be read as a tokenizer"),
    ],
)
def test_files_of_other_types(tmp_path: Path, name: str, content: str, words: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(DEMO_PATH, copy)
    (copy / name).write_text(content)
    assert_one_line_error(run("serve", str(copy), "--port", "0"), name, words)
