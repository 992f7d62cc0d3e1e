"""Writes a checkpoint of a named shape with random weights, a tensor at a time."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np
from tqdm import tqdm

from portico.bench.shapes import BYTES_OF_DTYPE, CHECKPOINT_DTYPES, ModelShape
from portico.bench.vocabulary import tokenizer_config, tokenizer_json

_SAFETENSORS_DTYPE = {"bfloat16": "BF16", "float32": "F32"}
# Part of the directory's name: it changes when the files written here do.
_LAYOUT = 2
_CHUNK = 1 << 22
_SPREAD = np.float32(0.02)


def find_or_make_checkpoint(shape: ModelShape, dtype: str, seed: int, cache: Path, stream: TextIO | None) -> Path:
    """The directory of the checkpoint, made if the cache has it not; progress is shown on `stream`.

    Raises:
        ValueError: the dtype is not one of `CHECKPOINT_DTYPES`.
        OSError: it cannot be written.
    """
    if dtype not in CHECKPOINT_DTYPES:
        raise ValueError(f"Checkpoints are written in {' or '.join(CHECKPOINT_DTYPES)}, not {dtype}.")
    path = cache / f"{shape.name}-{dtype}-{seed}-v{_LAYOUT}"
    if path.is_dir():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    # Renamed at the end, so that a checkpoint that was interrupted is never taken for a whole one.
    unfinished = Path(tempfile.mkdtemp(prefix=path.name, dir=cache))
    try:
        make_checkpoint(shape, dtype, seed, unfinished, stream)
        unfinished.chmod(0o755)
        unfinished.rename(path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return path


def make_checkpoint(shape: ModelShape, dtype: str, seed: int, path: Path, stream: TextIO | None) -> None:
    """Writes config, tokenizer and weights into a directory that exists."""
    contents = {
        "config.json": shape.config(dtype),
        "generation_config.json": {"eos_token_id": shape.vocab_size - 1},
        "tokenizer.json": tokenizer_json(shape.vocab_size),
        "tokenizer_config.json": tokenizer_config(),
    }
    for name, content in contents.items():
        (path / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    with (
        (path / "model.safetensors").open("wb") as file,
        tqdm(
            total=shape.num_parameters * BYTES_OF_DTYPE[dtype],
            desc=f"making {shape.name}",
            unit="B",
            unit_scale=True,
            file=stream,
            disable=stream is None,
        ) as bar,
    ):
        _write_header(file, shape, dtype)
        for chunk in _weights(shape, dtype, seed):
            bar.update(file.write(chunk))


def _write_header(file: BinaryIO, shape: ModelShape, dtype: str) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, dimensions in shape.tensors():
        end = offset + prod(dimensions) * BYTES_OF_DTYPE[dtype]
        header[name] = {"dtype": _SAFETENSORS_DTYPE[dtype], "shape": dimensions, "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    # The format wants the tensors aligned to eight bytes.
    encoded += b" " * (-len(encoded) % 8)
    file.write(len(encoded).to_bytes(8, "little") + encoded)


def _weights(shape: ModelShape, dtype: str, seed: int) -> Iterator[bytes]:
    """All tensors in the order of the header, in chunks."""
    generator = np.random.Generator(np.random.SFC64(seed))
    for name, dimensions in shape.tensors():
        left = prod(dimensions)
        while left:
            size = min(left, _CHUNK)
            left -= size
            if name.endswith("norm.weight"):
                values = np.ones(size, np.float32)
            else:
                values = generator.standard_normal(size, np.float32) * _SPREAD
            yield (to_bfloat16(values) if dtype == "bfloat16" else values).tobytes()


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Rounds float32 to the nearest bfloat16, as the upper 16 bits."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
