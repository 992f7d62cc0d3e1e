"""The peers: how each one gets the checkpoint, how it is started, and how it is spoken to."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers.compressed_tensors import quantise_checkpoint
from benchmarks.peers.environments import LLAMACPP, OPENVINO, TRANSFORMERS, VLLM, Environment
from benchmarks.peers.loads import Load

_INSIDE = Path(__file__).parent / "inside"
MAX_STREAMS = 64
MAX_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class Start:
    """What a command line is made from."""

    python: Path
    model: Path
    port: int
    num_threads: int


@dataclass(frozen=True, slots=True)
class Peer:
    """One server in one setting.

    Attributes:
        weights: how it holds the model.
        prepare: makes the files that it serves, from a checkpoint, in a folder that does not exist yet.
        command: starts it.
        variables: of its process, for a number of threads.
        extra: fields of every request under a load.
        is_named_by_path: requests name the model by its folder; else the server is asked for the name.
    """

    name: str
    environment: Environment
    weights: str
    prepare: Callable[[Path, Path, Path], None] | None
    command: Callable[[Start], list[str]]
    variables: Callable[[int], Mapping[str, str]]
    dialect: str = "openai"
    ready_path: str = "/health"
    extra: Callable[[Load], Mapping[str, Any]] = field(default=lambda load: {})
    is_named_by_path: bool = False

    def model_files(self, python: Path, checkpoint: Path, cache: Path) -> Path:
        """What it serves; made once and kept."""
        if self.prepare is None:
            return checkpoint
        path = cache / "models" / f"{checkpoint.name}-{self.name}"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(path.name + ".unfinished")
            self.prepare(python, checkpoint, unfinished)
            unfinished.rename(path)
        return path


def _threads(num_threads: int) -> Mapping[str, str]:
    return {"OMP_NUM_THREADS": str(num_threads)}


def _write_gguf(python: Path, checkpoint: Path, target: Path) -> None:
    subprocess.run([str(python), str(_INSIDE / "gguf_convert.py"), str(checkpoint), str(target)], check=True)


def _llamacpp(start: Start) -> list[str]:
    script = str(_INSIDE / "llamacpp_serve.py")
    sizes = [str(start.port), str(start.num_threads), str(MAX_STREAMS), str(MAX_STREAMS * MAX_TOKENS)]
    return [str(start.python), script, str(start.model), *sizes]


def _llamacpp_extra(load: Load) -> Mapping[str, Any]:
    # Its own cache of prompts is of use only where prompts have something in common.
    return {"cache_prompt": load.shared_prefix_len > 0}


def _vllm(dtype: str) -> Callable[[Start], list[str]]:
    def command(start: Start) -> list[str]:
        return [
            *(str(start.python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(start.model)),
            *("--host", "127.0.0.1", "--port", str(start.port), "--dtype", dtype, "--enforce-eager"),
            *("--max-model-len", str(MAX_TOKENS), "--max-num-seqs", str(MAX_STREAMS)),
        ]

    return command


def _vllm_variables(num_threads: int) -> Mapping[str, str]:
    return {
        **_threads(num_threads),
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }


def _quantise(python: Path, checkpoint: Path, target: Path) -> None:
    quantise_checkpoint(checkpoint, target)


def _export_openvino(python: Path, checkpoint: Path, target: Path) -> None:
    export = [str(python.with_name("optimum-cli")), "export", "openvino", "--model", str(checkpoint)]
    options = ["--task", "text-generation-with-past", "--weight-format", "int8", "--disable-convert-tokenizer"]
    subprocess.run([*export, *options, str(target)], check=True)


def _openvino(start: Start) -> list[str]:
    script = str(_INSIDE / "openvino_serve.py")
    return [str(start.python), script, str(start.model), str(start.port), str(start.num_threads), str(MAX_STREAMS)]


def _transformers(start: Start) -> list[str]:
    serve = [str(start.python.with_name("transformers")), "serve", str(start.model)]
    return [*serve, "--host", "127.0.0.1", "--port", str(start.port), "--device", "cpu", "--continuous-batching"]


def _transformers_extra(load: Load) -> Mapping[str, Any]:
    # It refuses what it does not know. Without ignore_eos the least number of tokens does the same.
    generation = {"min_new_tokens": load.output_len, "max_new_tokens": load.output_len, "do_sample": False}
    return {"generation_config": json.dumps(generation), "ignore_eos": None}


_ALL = (
    Peer("llamacpp", LLAMACPP, "Q8_0", _write_gguf, _llamacpp, _threads, extra=_llamacpp_extra),
    Peer("vllm", VLLM, "float32", None, _vllm("float32"), _vllm_variables),
    Peer("vllm-w8a8", VLLM, "int8 weights and activations", _quantise, _vllm("float32"), _vllm_variables),
    Peer("openvino", OPENVINO, "int8 weights", _export_openvino, _openvino, _threads),
    Peer(
        *("transformers", TRANSFORMERS, "as stored", None, _transformers, _threads),
        dialect="openai-chat",
        extra=_transformers_extra,
        is_named_by_path=True,
    ),
)
PEERS = {peer.name: peer for peer in _ALL}
