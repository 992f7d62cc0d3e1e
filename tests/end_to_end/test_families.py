"""Each family of checkpoints, served once over HTTP: its files, its tokenizer, its template, its weights."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from portico.core.request import ChatPrompt, Message
from portico.text.chat_template import ChatTemplate
from portico.text.tokenizer import Tokenizer
from tests.byte_tokenizer import build_byte_tokenizer
from tests.end_to_end.server import RunningServer, run_server
from tests.engines.native.checkpoints import (
    BAICHUAN_13B_CONFIG,
    BAICHUAN_CONFIG,
    QWEN_CONFIG,
    Tensors,
    baichuan_tensors,
    qwen_tensors,
    write_files,
)
from tests.engines.native.test_families import write_transformers
from tests.seed.commands import ADDRESS, read_commands
from tests.vocabularies import write_baichuan, write_sentencepiece, write_tiktoken

pytestmark = pytest.mark.xdist_group("families")

SIZES = {"vocab_size": 1100, "hidden_size": 32, "max_position_embeddings": 512, "model_max_length": 512}
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_2 = (
    "{% for message in messages %}{% if message.role == 'user' %}{{ bos_token }}[INST] {{ message.content }} [/INST]"
    "{% else %} {{ message.content }} {{ eos_token }}{% endif %}{% endfor %}"
)
PRIMARY_COLOURS = 11


def write_json_family(path: Path, name: str) -> None:
    write_transformers(path, name, max_position_embeddings=512)
    build_byte_tokenizer(path)
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML}))


def write_llama_2(path: Path) -> None:
    write_transformers(path, "llama", vocab_size=1100, max_position_embeddings=512)
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}
    write_sentencepiece(path, {**tokens, "chat_template": LLAMA_2})


def write_qwen_v1(path: Path) -> None:
    # Its control tokens are at the end of a vocabulary of this size, so the rest is small.
    changes = {"vocab_size": 151_936, "hidden_size": 16, "kv_channels": 4, "seq_length": 512}
    config = {**QWEN_CONFIG, **changes, "max_position_embeddings": 512}
    write_files(path, config, _rounded(qwen_tensors(config), torch.bfloat16), num_shards=2)
    (path / "generation_config.json").write_text(json.dumps({"chat_format": "chatml", "eos_token_id": 151_643}))
    write_tiktoken(path)


def write_baichuan_2_7b(path: Path) -> None:
    config = {**BAICHUAN_CONFIG, **SIZES}
    write_files(path, config, _rounded(baichuan_tensors(config), torch.bfloat16), as_pickle=True)
    write_baichuan(path)


def write_baichuan_2_13b(path: Path) -> None:
    config = {**BAICHUAN_13B_CONFIG, **SIZES}
    del config["max_position_embeddings"]
    write_files(path, config, _rounded(baichuan_tensors(config), torch.float16), as_pickle=True, num_shards=3)
    write_baichuan(path)


def write_baichuan_7b(path: Path) -> None:
    config = {**BAICHUAN_CONFIG, **SIZES, "architectures": ["BaiChuanForCausalLM"]}
    write_files(path, config, baichuan_tensors(config), as_pickle=True)
    write_baichuan(path, generation=1)


FAMILIES = {
    "qwen2": lambda path: write_json_family(path, "qwen2"),
    "qwen3": lambda path: write_json_family(path, "qwen3"),
    "mistral": lambda path: write_json_family(path, "mistral"),
    "llama-2": write_llama_2,
    "qwen-v1": write_qwen_v1,
    "baichuan2-7b": write_baichuan_2_7b,
    "baichuan2-13b": write_baichuan_2_13b,
    "baichuan-7b": write_baichuan_7b,
}


@dataclass
class Served:
    """A checkpoint and the server that serves it."""

    name: str
    path: Path
    server: RunningServer


@pytest.fixture(scope="module", params=FAMILIES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp(request.param)
    FAMILIES[request.param](path)
    flags = ("--served-model-name", request.param, "--device", "cpu", "--num-threads", "1", "--max-num-seqs", "16")
    with run_server(str(path), *flags) as server:
        yield Served(request.param, path, server)


def test_a_conversation_is_answered(served: Served) -> None:
    messages = [
        {"role": "user", "content": "如何养生？"},
        {"role": "assistant", "content": "多运动。"},
        {"role": "user", "content": "My name is Olivier, 你好 🙂"},
    ]
    body = {"model": served.name, "messages": messages, "max_tokens": 20, "temperature": 0, "logprobs": True}
    answer = _post(served, "/v1/chat/completions", body)
    (choice,) = answer["choices"]
    assert answer["usage"]["prompt_tokens"] == len(_prompt_ids(served.path, messages))
    assert 0 < answer["usage"]["completion_tokens"] <= 20
    assert len(choice["logprobs"]["content"]) <= answer["usage"]["completion_tokens"]
    assert choice["finish_reason"] in ("stop", "length")

    with httpx.stream(
        "POST", f"{served.server.address}/v1/chat/completions", json={**body, "stream": True}, timeout=60
    ) as stream:
        frames = [line.removeprefix("data: ") for line in stream.iter_lines() if line]
    deltas = [json.loads(frame)["choices"][0]["delta"].get("content") or "" for frame in frames[:-1]]
    assert "".join(deltas) == choice["message"]["content"]


def test_a_text_is_continued(served: Served) -> None:
    body = {"prompt": "My name is Olivier", "n": 2, "temperature": 0.0, "max_tokens": 12}
    texts = _post(served, "/generate", body)["text"]
    assert texts[0] == texts[1]
    assert texts[0].startswith("My name is Olivier")


@pytest.mark.parametrize("served", ["baichuan2-7b"], indirect=True)
def test_baichuan_answers_the_request_with_its_own_control_tokens(served: Served) -> None:
    command = read_commands()[PRIMARY_COLOURS].replace(ADDRESS, served.server.address)
    done = subprocess.run(["bash", "-c", command + " -sS -f"], capture_output=True, text=True, timeout=60, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    tokenizer = Tokenizer.load(served.path)
    assert answer["usage"]["prompt_tokens"] == 2 + len(tokenizer.encode("光的三原色是什么", add_special_tokens=False))
    assert [choice["index"] for choice in answer["choices"]] == list(range(10))
    assert len({choice["message"]["content"] for choice in answer["choices"]}) > 1
    for choice in answer["choices"]:
        assert "<reserved_" not in choice["message"]["content"]
        assert choice["logprobs"]["content"]
        assert all(entry["logprob"] <= 0 for entry in choice["logprobs"]["content"])


def _post(served: Served, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = httpx.post(served.server.address + path, json=body, timeout=60)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def _prompt_ids(path: Path, messages: list[dict[str, str]]) -> tuple[int, ...]:
    template = ChatTemplate.load(path, None)
    assert template is not None
    turns = tuple(Message(message["role"], message["content"], {}) for message in messages)
    text = template.render(ChatPrompt(turns, True, False, {}, None, False))
    return Tokenizer.load(path).encode(text, add_special_tokens=False)


def _rounded(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    return {name: value.to(dtype) for name, value in tensors.items()}
