"""What a server says of its memory, beside which its peak can be judged."""

from __future__ import annotations

import re
from dataclasses import dataclass

from portico.bench.client import Client, ClientError

_SAMPLE = re.compile(r"^portico_(\w+_bytes)(?:\{.*\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes, as a server reports them.

    Attributes:
        weights: all weights as they are held.
        kv_cache: what the whole KV cache takes once all of it is used.
        base: its processes before they read weights or requests: the interpreter, libraries, the tokenizer.
        peak: the most that its processes have taken, added up.
    """

    weights: int
    kv_cache: int
    base: int
    peak: int

    def share(self, peak: int) -> float:
        """A peak as a part of weights and KV cache together."""
        return peak / (self.weights + self.kv_cache)


async def read_memory_use(base_url: str, api_key: str | None) -> MemoryUse | None:
    """What `/metrics` says; None of a server that says nothing of it, or whose memory is not the machine's."""
    client = Client(base_url, api_key)
    try:
        page = (await client.get("/metrics")).decode()
        return _parse(page)
    except (ClientError, ValueError):
        return None
    finally:
        client.close()


def _parse(page: str) -> MemoryUse | None:
    found: dict[str, float] = {}
    for name, value in _SAMPLE.findall(page):
        # Processes are told apart by a label.
        found[name] = found.get(name, 0) + float(value)
    names = ("weight_bytes", "kv_cache_bytes", "base_memory_bytes", "peak_memory_bytes")
    if not all(found.get(name) for name in names):
        return None
    return MemoryUse(*(int(found[name]) for name in names))
