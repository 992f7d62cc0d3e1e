"""The tensors of a checkpoint's weight files, one at a time: safetensors, or PyTorch's .bin without running its code.

A file is mapped into memory, not read. It is opened anew after some hundred megabytes, because the pages that were
read count as the process's memory until the file is closed.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from portico.core.engine import EngineStartError

_MAX_MAPPED = 256 << 20
# Of a file, in characters; systems allow 255 bytes.
_MAX_NAME = 200

_Read = Callable[[str], Tensor]


@dataclass(frozen=True, slots=True)
class _Format:
    """A kind of weight files; `open` gives the names of a file's tensors and what reads one of them."""

    name: str
    single: str
    index: str
    open: Callable[[Path], AbstractContextManager[tuple[list[str], _Read]]]


def read_object(path: Path) -> Mapping[str, Any]:
    """The content of a JSON file.

    Raises:
        EngineStartError: it is missing or no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EngineStartError(f"{path} cannot be read: {error}.") from error
    if not isinstance(value, dict):
        raise EngineStartError(f"{path} does not hold a JSON object.")
    return value


def read_tensors(path: Path) -> Iterator[tuple[Path, str, Tensor]]:
    """The tensors of a checkpoint directory with their files and names; each is valid until the next one is taken.

    Raises:
        EngineStartError: a file is missing or broken.
    """
    format_ = _format_of(path)
    for file in _files(path, format_):
        try:
            for name, tensor in _tensors_of(file, format_):
                yield file, name, tensor
        except (SafetensorError, pickle.UnpicklingError, EOFError, OSError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise EngineStartError(f"{file} is not a readable {format_.name} file: {reason}.") from error


def num_bytes(path: Path) -> int:
    """The size of a checkpoint directory's weight files together.

    Raises:
        EngineStartError: a file is missing.
    """
    return sum(file.stat().st_size for file in _files(path, _format_of(path)))


def _format_of(path: Path) -> _Format:
    return next((each for each in _FORMATS if _has(path, each)), _FORMATS[0])


def _has(path: Path, format_: _Format) -> bool:
    return (path / format_.single).is_file() or (path / format_.index).is_file()


def _files(path: Path, format_: _Format) -> list[Path]:
    if (path / format_.index).is_file():
        weight_map = read_object(path / format_.index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise EngineStartError(f"{path / format_.index} has no weight_map.")
        names = {str(each) for each in weight_map.values()}
        for name in names:
            if name != Path(name).name or not name.isprintable() or len(name) > _MAX_NAME:
                raise EngineStartError(
                    f"{path / format_.index} names {name[:_MAX_NAME]!r}, which is no name of a file."
                )
        files = [path / name for name in sorted(names)]
    else:
        files = [path / format_.single]
    for file in files:
        if not file.is_file():
            raise EngineStartError(f"The checkpoint {path} has no {file.name}.")
    return files


def _tensors_of(file: Path, format_: _Format) -> Iterator[tuple[str, Tensor]]:
    num_done, num_tensors = 0, 1
    while num_done < num_tensors:
        num_mapped = 0
        with format_.open(file) as (names, read):
            num_tensors = len(names)
            for name in names[num_done:]:
                tensor = read(name)
                yield name, tensor
                num_mapped += tensor.nbytes
                num_done += 1
                # The mapping lasts as long as there is a tensor in it.
                del tensor
                if num_mapped > _MAX_MAPPED:
                    break


@contextmanager
def _open_safetensors(file: Path) -> Iterator[tuple[list[str], _Read]]:
    with safe_open(str(file), framework="pt") as tensors:
        yield list(tensors.keys()), tensors.get_tensor


@contextmanager
def _open_pickle(file: Path) -> Iterator[tuple[list[str], _Read]]:
    # `weights_only` builds tensors and plain containers and refuses anything else that a pickle could ask for.
    tensors = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    if not isinstance(tensors, dict) or not all(isinstance(each, Tensor) for each in tensors.values()):
        raise EngineStartError(f"{file} does not hold tensors by name.")
    yield list(tensors), tensors.__getitem__


_FORMATS = (
    _Format("safetensors", "model.safetensors", "model.safetensors.index.json", _open_safetensors),
    _Format("PyTorch", "pytorch_model.bin", "pytorch_model.bin.index.json", _open_pickle),
)
