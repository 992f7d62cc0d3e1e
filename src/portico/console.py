"""What the operator sees while the server starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TextIO, cast

from tqdm import tqdm

from portico.core.dialect import Detokenize, Dialect, Generate, Tokenize
from portico.core.model import ServerStatus


class _Lenient:
    """A stream that drops what cannot be written: a full disk is no reason not to serve."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


class Console:
    """Writes progress and the announcement to a terminal or a log file, as far as they take it."""

    def __init__(self, stream: TextIO, on_ready: Callable[[], None] = lambda: None) -> None:
        self._stream = _Lenient(stream)
        self._on_ready = on_ready
        self._bar: tqdm[NoReturn] | None = None
        self._is_loaded = False

    def show_progress(self, fraction: float) -> None:
        """The share of the weights that is loaded, as a bar; it ends with the last of them."""
        if self._is_loaded:
            return
        if self._bar is None:
            self._bar = tqdm(
                total=100,
                desc="loading weights",
                unit="%",
                file=cast(TextIO, self._stream),
                bar_format="{desc}: {percentage:3.0f}%|{bar}|",
            )
        self._bar.update(round(fraction * 100) - self._bar.n)
        if fraction >= 1:
            self._is_loaded = True
            self.end_progress()

    def end_progress(self) -> None:
        """Closes the bar, finished or not, so that what is written next has a line of its own."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def report(self, source: str, remarks: Sequence[str]) -> None:
        """What of a file of settings is not followed, and why."""
        lines = [f"{source} is followed, except:", *(f"  {remark}" for remark in remarks)]
        self._stream.write("\n".join(lines if remarks else [f"{source} is followed."]) + "\n")
        self._stream.flush()

    def announce(
        self,
        address: str,
        status: ServerStatus,
        dialects: Sequence[Dialect],
        grpc_address: str | None = None,
        management_addresses: Sequence[str] = (),
        key_names: Sequence[str] = (),
    ) -> None:
        """The server is ready: where it is, what it serves, how it is talked to."""
        model = status.model
        size = f"{model.num_parameters / 1e6:,.1f} M parameters" if model.num_parameters else "no weights"
        lines = [
            f"Portico {status.version} is ready on {address}",
            f"  model     {status.served.name} ({model.architecture}, {size}, {model.dtype} on {model.device}, "
            f"context {model.max_model_len})",
        ]
        if len(status.served.names) > 1:
            lines.append(f"  aliases   {', '.join(status.served.names[1:])}")
        if grpc_address is not None:
            lines.append(f"  gRPC      {grpc_address}")
        if management_addresses:
            lines.append(f"  managed   {' '.join(management_addresses)}")
        lines.append(f"  keys      {', '.join(key_names) or 'none: everybody who can connect is served'}")
        for dialect in dialects:
            lines.append(f"  {dialect.name:<9} {' '.join(_working_paths(dialect))}")
        lines.append("  further   /health /metrics; GET /openapi.json has every path")
        body = json.dumps(
            {"model": status.served.name, "messages": [{"role": "user", "content": "Hello!"}]}, ensure_ascii=False
        )
        key = "-H 'Authorization: Bearer KEY' " if key_names else ""
        lines.append(f"Try: curl {address}/v1/chat/completions {key}-H 'Content-Type: application/json' -d '{body}'")
        self._stream.write("\n".join(lines) + "\n")
        self._stream.flush()
        self._on_ready()


def _working_paths(dialect: Dialect) -> list[str]:
    """The paths that generate and tokenise, without their variants that name a version."""
    working = [route.path for route in dialect.routes if isinstance(route.operation, Generate | Tokenize | Detokenize)]
    return list(dict.fromkeys(path.replace(":path}", "}") for path in working if "{version}" not in path))
