"""Reads a checkpoint directory: config.json, generation_config.json and safetensors files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from portico.core.engine import EngineStartError
from portico.engines.native.decoder import DecoderConfig, DecoderWeights
from portico.engines.native.families import Family, family_of

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint directory says before its weights are read."""

    path: Path
    architecture: str
    family: Family
    config: DecoderConfig
    eos_token_ids: tuple[int, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads the configuration files.

    Raises:
        EngineStartError: something is missing, unreadable or not supported.
    """
    if not path.is_dir():
        raise EngineStartError(f"There is no checkpoint directory {path}.")
    if not (path / "config.json").is_file():
        raise EngineStartError(f"The checkpoint {path} has no config.json.")
    config = _read_json(path / "config.json")
    architecture, family = family_of(config)
    generation = _read_json(path / "generation_config.json") if (path / "generation_config.json").is_file() else {}
    eos = generation.get("eos_token_id")
    if eos is None:
        eos = config.get("eos_token_id")
    return Checkpoint(path, architecture, family, family.read_config(config), _token_ids(eos))


def load_weights(
    checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device, on_progress: Callable[[float], None]
) -> DecoderWeights:
    """Reads all tensors, one at a time, into their fused places.

    Raises:
        EngineStartError: a file or tensor is missing, corrupt, unexpected or of the wrong shape.
    """
    files = _weight_files(checkpoint.path)
    weights = DecoderWeights.empty(checkpoint.config, dtype, device)
    missing = checkpoint.family.destinations(checkpoint.config, weights)
    num_tensors = len(missing)
    on_progress(0.0)
    for file in files:
        try:
            with safe_open(str(file), framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - it is no mapping
                    place = missing.pop(name, None)
                    if place is not None:
                        _fill(place, tensors.get_tensor(name), name, file)
                        on_progress(1 - len(missing) / num_tensors)
                    elif not _is_ignored(name, checkpoint):
                        raise EngineStartError(
                            f"{file} holds the tensor {name}, which {checkpoint.architecture} has not."
                        )
        except (SafetensorError, OSError) as error:
            raise EngineStartError(f"{file} is not a readable safetensors file: {error}.") from error
    if missing:
        raise EngineStartError(f"The checkpoint {checkpoint.path} lacks {_some(missing)}.")
    return weights


def _weight_files(path: Path) -> list[Path]:
    if (path / _INDEX).is_file():
        weight_map = _read_json(path / _INDEX).get("weight_map")
        if not isinstance(weight_map, dict):
            raise EngineStartError(f"{path / _INDEX} has no weight_map.")
        files = [path / name for name in sorted(set(map(str, weight_map.values())))]
    else:
        files = [path / _SINGLE]
    for file in files:
        if not file.is_file():
            raise EngineStartError(f"The checkpoint {path} has no {file.name}.")
    return files


def _fill(place: Tensor, value: Tensor, name: str, file: Path) -> None:
    if value.shape != place.shape:
        raise EngineStartError(
            f"The tensor {name} in {file} has the shape {list(value.shape)}, but config.json asks for "
            f"{list(place.shape)}."
        )
    if not value.is_floating_point():
        raise EngineStartError(f"The tensor {name} in {file} has the type {value.dtype}, which is not supported.")
    place.copy_(value)


def _is_ignored(name: str, checkpoint: Checkpoint) -> bool:
    is_tied_head = name == "lm_head.weight" and checkpoint.config.has_tied_head
    return is_tied_head or name.endswith(checkpoint.family.ignored)


def _token_ids(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(dict.fromkeys(value)) if isinstance(value, list) else (int(value),)


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EngineStartError(f"{path} cannot be read: {error}.") from error
    if not isinstance(value, dict):
        raise EngineStartError(f"{path} does not hold a JSON object.")
    return value


def _some(names: Iterable[str]) -> str:
    first, *others = sorted(names)
    return f"the tensor {first}" + (f" and {len(others)} others" if others else "")
