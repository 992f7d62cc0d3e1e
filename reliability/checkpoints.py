"""Checkpoints that are broken, or made to break something."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import shutil
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from portico.checkpoint import DEMO_PATH
from reliability.check import Check, Result, Settings
from reliability.server import ROOT

_LIMIT = 5.0
_WEIGHTS = "model.safetensors"


def _header(path: Path) -> tuple[dict[str, Any], bytes]:
    data = (path / _WEIGHTS).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def _write(path: Path, header: dict[str, Any], weights: bytes) -> None:
    encoded = json.dumps(header).encode()
    (path / _WEIGHTS).write_bytes(struct.pack("<Q", len(encoded)) + encoded + weights)


def _truncate(path: Path) -> None:
    data = (path / _WEIGHTS).read_bytes()
    (path / _WEIGHTS).write_bytes(data[: len(data) // 2])


def _huge_header(path: Path) -> None:
    data = (path / _WEIGHTS).read_bytes()
    (path / _WEIGHTS).write_bytes(struct.pack("<Q", 2**63) + data[8:])


def _past_the_end(path: Path) -> None:
    header, weights = _header(path)
    name = next(each for each in header if each != "__metadata__")
    header[name]["data_offsets"] = [len(weights) * 2, len(weights) * 2 + 4]
    _write(path, header, weights)


def _overlap(path: Path) -> None:
    header, weights = _header(path)
    first, second = [each for each in header if each != "__metadata__"][:2]
    header[second]["data_offsets"] = header[first]["data_offsets"]
    _write(path, header, weights)


def _wrong_shape(path: Path) -> None:
    header, weights = _header(path)
    name = next(each for each in header if each.endswith("q_proj.weight"))
    header[name]["shape"] = list(reversed([2, header[name]["shape"][0] * header[name]["shape"][1] // 2]))
    _write(path, header, weights)


def _missing_tensor(path: Path) -> None:
    header, weights = _header(path)
    name = next(each for each in header if each.endswith("k_proj.weight"))
    header[name.replace("k_proj", "z_proj")] = header.pop(name)
    _write(path, header, weights)


def _huge_vocabulary(path: Path) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "vocab_size": 10**9}))


class _Bomb:
    """Unpickling it would make a directory."""

    def __init__(self, canary: str) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (self._canary,)


def _pickle_bomb(path: Path) -> None:
    (path / _WEIGHTS).unlink()
    (path / "pytorch_model.bin").write_bytes(pickle.dumps(_Bomb(str(path / "canary"))))


_BREAKS = (
    _truncate,
    _huge_header,
    _past_the_end,
    _overlap,
    _wrong_shape,
    _missing_tensor,
    _huge_vocabulary,
    _pickle_bomb,
)


async def _start(path: Path, settings: Settings) -> tuple[list[str], float]:
    """Starts a server that must not come up; what was wrong about that, and how long it took to end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ("--port", str(port), "--grpc-port", "0", "--served-model-name", "broken")
    started_at = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "portico", "serve", str(path), *flags),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    reading = asyncio.create_task(process.communicate())
    problems = []
    while not reading.done() and time.perf_counter() < started_at + 6 * _LIMIT:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                problems.append("the port was opened")
                break
        await asyncio.sleep(0.05)
    took = time.perf_counter() - started_at
    if process.returncode is None:
        process.kill()
    _, written = await reading
    last = written.decode(errors="replace").strip().splitlines()[-1:]
    if took > _LIMIT * settings.slack:
        problems.append(f"it ended after {took:.1f} s")
    if process.returncode == 0 or process.returncode is None:
        problems.append(f"the exit code was {process.returncode}")
    if not last or not last[0].startswith("portico: error: "):
        problems.append(f"the last line was {last}")
    return problems, took


async def _check_broken(settings: Settings) -> Result:
    problems: list[str] = []
    times: list[float] = []
    for breaking in _BREAKS:
        name = breaking.__name__.strip("_")
        path = settings.directory / name
        shutil.copytree(DEMO_PATH, path)
        breaking(path)
        found, took = await _start(path, settings)
        times.append(took)
        problems += [f"{name}: {each}" for each in found]
        if (path / "canary").exists():
            problems.append(f"{name}: code of the checkpoint was run")
        shutil.rmtree(path)
    return Result.judge(f"{len(_BREAKS)} checkpoints refused, slowest after {max(times):.1f} s", problems)


CHECKS = (
    Check(
        "F16",
        "Faults",
        "Broken checkpoints",
        "eight ways to break a checkpoint: a reason and an exit code within 5 s, the port never opened, no code run",
        _check_broken,
        uses_model=True,
    ),
)
