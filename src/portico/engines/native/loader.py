"""Reads a checkpoint directory: config.json, generation_config.json and the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from portico.core.engine import EngineStartError
from portico.engines.native.decoder import DecoderConfig, DecoderWeights
from portico.engines.native.families import IGNORED_ENDINGS, Family, family_of
from portico.engines.native.quantization import fill, is_quantized, matrix_shape, normalise_rows
from portico.engines.native.weight_files import num_bytes, read_object, read_tensors

# Number formats of weights; others need scales that are not known here.
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_MIN_WEIGHT_BYTES = 2
# Of less, the files themselves say better what is wrong.
_MIN_CHECKED = 1 << 30
_MAX_SHOWN = 100
_HEAD_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint directory says before its weights are read; `dtype` is the number format of most of them."""

    path: Path
    architecture: str
    family: Family
    config: DecoderConfig
    eos_token_ids: tuple[int, ...]
    dtype: str | None = None


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads the configuration files.

    Raises:
        EngineStartError: something is missing, unreadable or not supported.
    """
    if not path.is_dir():
        raise EngineStartError(f"There is no checkpoint directory {path}.")
    if not (path / "config.json").is_file():
        raise EngineStartError(f"The checkpoint {path} has no config.json.")
    config = read_object(path / "config.json")
    architecture, family = family_of(config)
    generation = read_object(path / "generation_config.json") if (path / "generation_config.json").is_file() else {}
    eos = generation.get("eos_token_id")
    if eos is None:
        eos = config.get("eos_token_id")
    sizes = family.read_config(config)
    end_ids = (*_token_ids(eos), *(each for each in family.end_ids if each < sizes.vocab_size))
    dtype = config.get("dtype", config.get("torch_dtype"))
    return Checkpoint(path, architecture, family, sizes, tuple(dict.fromkeys(end_ids)), dtype)


def load_weights(
    checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device, on_progress: Callable[[float], None]
) -> DecoderWeights:
    """Reads all tensors, one at a time, into their fused places.

    Raises:
        EngineStartError: a file or tensor is missing, corrupt, unexpected, of the wrong shape or not of numbers.
    """
    _check_size(checkpoint)
    weights = DecoderWeights.empty(checkpoint.config, dtype, device)
    missing = checkpoint.family.destinations(checkpoint.config, weights)
    num_tensors = len(missing)
    on_progress(0.0)
    for file, name, tensor in read_tensors(checkpoint.path):
        place = missing.pop(name, None)
        if place is not None:
            _fill(place, tensor, name, file)
            on_progress(1 - len(missing) / num_tensors)
        elif not _is_ignored(name, checkpoint):
            raise EngineStartError(f"{file} holds the tensor {name}, which {checkpoint.architecture} has not.")
    if missing:
        raise EngineStartError(f"The checkpoint {checkpoint.path} lacks {_some(missing)}.")
    if checkpoint.config.has_normalised_head:
        _normalise(weights.head)
    return weights


def _check_size(checkpoint: Checkpoint) -> None:
    """Refuses what cannot be in the files before there is memory for it."""
    described, size = checkpoint.config.num_matrix_weights, num_bytes(checkpoint.path)
    if described * _MIN_WEIGHT_BYTES > max(size, _MIN_CHECKED):
        raise EngineStartError(
            f"The checkpoint {checkpoint.path} has weight files of {size} bytes, but config.json asks for {described} "
            f"weights."
        )


def _normalise(head: Tensor) -> None:
    if head.dtype is torch.int8:
        normalise_rows(head)
        return
    for rows in torch.split(head, _HEAD_ROWS):
        rows.copy_(functional.normalize(rows.float()))


def _fill(place: Tensor, value: Tensor, name: str, file: Path) -> None:
    shape = matrix_shape(place) if is_quantized(place) else place.shape
    if value.shape != shape:
        raise EngineStartError(
            f"The tensor {name} in {file} has the shape {list(value.shape)}, but config.json asks for {list(shape)}."
        )
    if value.dtype not in _DTYPES:
        raise EngineStartError(f"The tensor {name} in {file} has the type {value.dtype}, which is not supported.")
    if not _is_finite(value):
        raise EngineStartError(f"The tensor {name} in {file} has values that are no numbers, or infinite.")
    if is_quantized(place):
        fill(place, value.detach())
    else:
        place.copy_(value.detach())


def _is_finite(value: Tensor) -> bool:
    # Adding up is fast, and keeps what is no number; only a sum that is too large itself needs another look.
    return bool(value.sum().isfinite()) or all(bool(rows.isfinite().all()) for rows in torch.split(value, _HEAD_ROWS))


def _is_ignored(name: str, checkpoint: Checkpoint) -> bool:
    is_tied_head = name == "lm_head.weight" and checkpoint.config.has_tied_head
    return is_tied_head or name.endswith(IGNORED_ENDINGS)


def _token_ids(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    found = value if isinstance(value, list) else [value]
    if not all(type(each) is int and each >= 0 for each in found):
        raise EngineStartError(
            f"The checkpoint must give its end of text as an id or a list of ids, not {str(value)[:_MAX_SHOWN]}."
        )
    return tuple(dict.fromkeys(found))


def _some(names: Iterable[str]) -> str:
    first, *others = sorted(names)
    return f"the tensor {first}" + (f" and {len(others)} others" if others else "")
