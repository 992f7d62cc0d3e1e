"""Where a model's files are: a directory, the demo model in this package, or the model hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from portico.core.model import ServedModel

# What a checkpoint needs; weights in other formats and code are not fetched.
_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.tiktoken", "*.txt")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")

# The demo answers to the names that the cheat sheets of such servers use, and tells its own name.
DEMO_NAMES = ("portico-demo", "qwen-72b", "qwen1.5-14b", "baichuan2-7b", "gpt-3.5-turbo-16k")
DEMO_PATH = Path(__file__).parent / "demo" / "checkpoint"


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
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"no such checkpoint: there is no directory {model}, and it cannot be had from the hub ({reason})"
        ) from error
