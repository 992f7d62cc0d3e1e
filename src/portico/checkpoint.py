"""Where a model's files are: a directory, the demo model in this package, or the model hub."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from portico.core.model import NO_ADVICE, SamplingDefaults, ServedModel

# What a checkpoint needs; code is not fetched, nor the same weights again in other formats and layouts.
_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.tiktoken", "*.txt")
_OTHER_WEIGHTS = ("consolidated*", "original/*")
_OLD_WEIGHTS = "pytorch_model*.bin"
_HUB_ID = re.compile(r"(?!\.)[\w.-]+(/[\w.-]+)?")

# The demo answers to the names that the cheat sheets of such servers use, and tells its own name.
DEMO_NAMES = ("portico-demo", "qwen-72b", "qwen1.5-14b", "baichuan2-7b", "gpt-3.5-turbo-16k")
DEMO_PATH = Path(__file__).parent / "demo" / "checkpoint"


# Names in generation_config.json, with the field of `SamplingDefaults` that each is.
_ADVICE = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "max_new_tokens": "max_tokens",
}
_MAX_INTEGER = 2**31 - 1
# From the least to the greatest value of each.
_RANGES = {
    "temperature": (0.0, 2.0),
    "top_k": (-1, _MAX_INTEGER),
    "top_p": (sys.float_info.min, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (sys.float_info.min, sys.float_info.max),
    "max_tokens": (1, _MAX_INTEGER),
}
_INTEGERS = ("top_k", "max_tokens")


class CheckpointError(Exception):
    """There are no such model files; the message is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A directory of model files and the names to serve it under."""

    path: Path
    served: ServedModel


def find_checkpoint(model: str | None, names: tuple[str, ...], revision: str | None) -> Checkpoint:
    """The checkpoint for a directory or hub id; the demo model for None.

    `names` replaces the names it is served under; `*` among them accepts every name.

    Raises:
        CheckpointError: neither a directory nor on the hub.
    """
    path = DEMO_PATH if model is None else _find_path(model, revision)
    own_names = DEMO_NAMES if model is None else (_own_name(model, path),)
    given = tuple(name for name in names if name != "*")
    return Checkpoint(path, ServedModel(given or own_names, "*" in names, str(path)))


def read_sampling_defaults(checkpoint: Path) -> SamplingDefaults:
    """What the checkpoint's generation_config.json advises, if it has one; `do_sample` is not advice but a habit.

    Raises:
        CheckpointError: the file is broken or advises something that is not a number.
    """
    path = checkpoint / "generation_config.json"
    if not path.is_file():
        return NO_ADVICE
    try:
        advice = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(advice, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    given = {field: advice[name] for name, field in _ADVICE.items() if advice.get(name) is not None}
    for field, value in given.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise CheckpointError(f"{path} must have a number for {field}, not {value!r}")
        low, high = _RANGES[field]
        if not low <= value <= high or (field in _INTEGERS and value != int(value)):
            raise CheckpointError(f"{path} advises {field} {value}, which is out of its range")
    return SamplingDefaults(**given)


def _own_name(model: str, path: Path) -> str:
    return path.resolve().name if Path(model).is_dir() else model


def _find_path(model: str, revision: str | None) -> Path:
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise CheckpointError(f"{model} is a file; a checkpoint is a directory with config.json and its weights")
    if not _HUB_ID.fullmatch(model):
        raise CheckpointError(f"no such checkpoint: there is no directory {model}")
    return _download(model, revision)


def _download(model: str, revision: str | None) -> Path:
    # Imported only when needed: it is slow and most servers start from a directory.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        fetch = partial(snapshot_download, model, revision=revision, ignore_patterns=list(_OTHER_WEIGHTS))
        path = Path(fetch(allow_patterns=list(_FILES)))
        if not any(path.glob("*.safetensors")):
            path = Path(fetch(allow_patterns=[*_FILES, _OLD_WEIGHTS]))
        return path
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"no such checkpoint: there is no directory {model}, and it cannot be had from the hub ({reason})"
        ) from error
