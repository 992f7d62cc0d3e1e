"""Writes a checkpoint as compressed-tensors W8A8: int8 weights per output channel, activations quantised per token."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.safetensors_reader import read_tensors

_DTYPES = {"int8": "I8", "float32": "F32"}
_INT8 = {"num_bits": 8, "type": "int", "symmetric": True}
_QUANTISATION: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {**_INT8, "strategy": "channel", "dynamic": False},
            "input_activations": {**_INT8, "strategy": "token", "dynamic": True},
        }
    },
}


def quantise_checkpoint(checkpoint: Path, target: Path) -> None:
    """Writes the quantised checkpoint into a new folder."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(checkpoint, target, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "quantization_config": _QUANTISATION}))
    tensors: dict[str, np.ndarray] = {}
    for name, values in read_tensors(checkpoint / "model.safetensors"):
        if name.endswith("_proj.weight"):
            scale = np.abs(values).max(axis=1, keepdims=True) / 127
            tensors[name] = np.round(values / scale).astype(np.int8)
            tensors[f"{name}_scale"] = scale.astype(np.float32)
        else:
            tensors[name] = values.astype(np.float32)
    _write(target / "model.safetensors", tensors)


def _write(path: Path, tensors: dict[str, np.ndarray]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, values in tensors.items():
        end = offset + values.nbytes
        header[name] = {"dtype": _DTYPES[values.dtype.name], "shape": values.shape, "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for values in tensors.values():
            file.write(values.tobytes())
