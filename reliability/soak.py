"""The soak: mixed traffic for a long time, after which nothing has grown; a server with a leak must show one."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from reliability.check import Check, Result, Settings
from reliability.client import Connection, encode_request, exchange
from reliability.outcome import Kind, Outcome, classify
from reliability.server import Server, run_server
from reliability.spoken import CHAT, TGI, Spoken
from reliability.traffic import closed_loop, learn, send

_SLOTS, _QUEUE = 8, 64
_NUM_TOKENS, _STALLED_TOKENS = 24, 400
# Little enough to be used up before the measuring: the KV cache takes memory as it is first written.
_KV_CACHE_BYTES = 32 << 20
_BLOCK_TOKENS, _PROMPT_LEN = 16, 1500
_FLAGS = (
    *("--max-num-seqs", str(_SLOTS), "--max-waiting", str(_QUEUE), "--kv-cache-memory", str(_KV_CACHE_BYTES)),
    *("--send-timeout", "5", "--log-level", "error"),
)
_LOAD = 0.8
# Shares of requests that are no plain ones.
_CANCELS, _BAD, _STALLED = 0.20, 0.05, 0.01
_SAMPLE_SECONDS = 1.0
_NUM_PARTS = 5
_NUM_FLOORS = 50
_MAX_SLOPE = (1 << 20) / 600
# What allocators take for good in the first minutes. A run that is not much longer can only show a leak by the request.
_SETTLING_BYTES, _SETTLING_SECONDS = 12 << 20, 300
_NOISE = 1 << 20
_MAX_STALLED_SECONDS = 8.0
_WARM_UP_SHARE = 0.3
# Threads that asyncio's pool has at most; it starts them one by one, when the work is there.
_POOL = min(32, (os.cpu_count() or 1) + 4)
_CONTROL_SHARE = 0.1
_MAX_REMARKS = 20

_BAD_REQUESTS = (
    ("/v1/chat/completions", b"{"),
    ("/v1/chat/completions", b'{"messages": "none"}'),
    ("/v1/chat/completions", b'{"messages": [{"role": "user", "content": "x"}], "temperature": "hot"}'),
    ("/v1/chat/completions", b'{"messages": [{"role": "user", "content": "x"}], "n": 1000000}'),
    ("/v1/completions", b'{"prompt": [99999999]}'),
    ("/v1/completions", b'{"prompt": "' + b"x " * 40000 + b'"}'),
    ("/v1/completions", b"[" * 50000),
    ("/generate", b'{"inputs": "x", "parameters": {"top_p": 7}}'),
    ("/generate", b'{"prompt": "x", "nonsense": 1}'),
    ("/v2/models/nothing/generate", b'{"text_input": "x"}'),
    ("/infer", b'{"inputs": "", "parameters": {}}'),
    ("/v1/messages", b'{"max_tokens": -1}'),
    ("/v1/nothing", b"{}"),
)


@dataclass(frozen=True, slots=True)
class Resources:
    """What an idle server holds."""

    num_fds: int
    num_threads: int
    num_free_blocks: int


@dataclass
class Soaked:
    """What was seen in a soak; `samples` are pairs of seconds and bytes after the warm-up."""

    kinds: Counter[Kind] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)
    samples: list[tuple[float, int]] = field(default_factory=list)
    before: Resources = Resources(0, 0, 0)
    after: Resources = Resources(0, 0, 0)

    @property
    def growth(self) -> tuple[float, float]:
        """Bytes per second, and how long samples were taken."""
        if len(self.samples) < 2:
            return 0.0, 0.0
        return slope(floor(self.samples)), self.samples[-1][0] - self.samples[0][0]

    def problems(self) -> list[str]:
        """What a server that can run for ever does not do."""
        found = list(self.remarks)
        rate, seconds = self.growth
        noise = _SETTLING_BYTES if seconds < _SETTLING_SECONDS else _NOISE
        if rate * seconds > max(_MAX_SLOPE * seconds, noise):
            found.append(f"memory grew by {rate * 600 / 2**20:.1f} MiB in 10 minutes")
        before, after = self.before, self.after
        for name, spare in (("num_fds", 0), ("num_threads", _POOL)):
            if getattr(after, name) > getattr(before, name) + spare:
                found.append(f"{name} grew from {getattr(before, name)} to {getattr(after, name)}")
        if after.num_free_blocks != before.num_free_blocks:
            found.append(f"{before.num_free_blocks - after.num_free_blocks} blocks of KV cache were not freed")
        return found

    def figure(self) -> str:
        """The numbers in a few words."""
        rate, seconds = self.growth
        before, after = self.before, self.after
        counted = ", ".join(f"{self.kinds[kind]} {kind.value}" for kind in Kind if self.kinds[kind])
        return (
            f"{seconds / 60:.1f} min after warm-up: {counted}; memory {rate * 600 / 2**20:+.2f} MiB per 10 min; "
            f"descriptors {after.num_fds - before.num_fds:+d}, threads {after.num_threads - before.num_threads:+d}, "
            f"free blocks {after.num_free_blocks - before.num_free_blocks:+d}"
        )


def floor(samples: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """The lowest sample of each of some fifty stretches of time.

    A long prompt takes twenty MiB while it is tokenised. What is given back a moment later is no growth; a leak lifts
    the lowest sample as much as the others.
    """
    size = max(len(samples) // _NUM_FLOORS, 1)
    return [min(samples[start : start + size], key=lambda each: each[1]) for start in range(0, len(samples), size)]


def slope(samples: Sequence[tuple[float, int]]) -> float:
    """The median of the slopes in equal parts of the samples, each by least squares.

    A leak is in all of them. A step is in one, as when an allocator takes memory for a crowd of requests and keeps it.
    """
    size = max(len(samples) // _NUM_PARTS, 1)
    return statistics.median(_line(samples[start : start + size]) for start in range(0, len(samples) - size + 1, size))


def _line(samples: Sequence[tuple[float, int]]) -> float:
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread if spread else 0.0


class _Traffic:
    """Sends one request after the other, of a kind that is drawn, and notes what came of it."""

    def __init__(self, server: Server, requests: Sequence[Spoken], soaked: Soaked) -> None:
        self._server = server
        self._requests = requests
        self._soaked = soaked
        self._generator = random.Random(9)

    async def run(self, rate: float, seconds: float) -> None:
        """An open loop; ends when everything is answered."""
        due = time.perf_counter()
        end = due + seconds
        async with asyncio.TaskGroup() as sent:
            while (due := due + self._generator.expovariate(rate)) < end:
                await asyncio.sleep(max(due - time.perf_counter(), 0.0))
                sent.create_task(self._one())

    async def _one(self) -> None:
        draw = self._generator.random()
        spoken = self._generator.choice(self._requests)
        if draw < _STALLED:
            await self._stall(spoken)
        elif draw < _STALLED + _BAD:
            await self._send_bad()
        elif draw < _STALLED + _BAD + _CANCELS:
            leave_after = self._generator.uniform(0.0, 0.3)
            self._note(await send(self._server, spoken, leave_after=leave_after), Kind.OK, Kind.CANCELLED)
        else:
            self._note(await send(self._server, spoken), Kind.OK)

    async def _stall(self, spoken: Spoken) -> None:
        """Asks for a long stream, does not read it, and leaves after a while if the server has not cut it off."""
        long = replace(
            spoken, num_tokens=_STALLED_TOKENS, is_streamed=True, dialect=CHAT, extra=(("ignore_eos", True),)
        )
        connection = await Connection.open(self._server.address, receive_buffer=4096)
        connection.send(long.message)
        connection.pause()
        await asyncio.sleep(_MAX_STALLED_SECONDS)
        connection.close()
        self._soaked.kinds[Kind.CANCELLED] += 1

    async def _send_bad(self) -> None:
        path, body = self._generator.choice(_BAD_REQUESTS)
        answer = await exchange(self._server.address, encode_request("POST", path, body))
        self._note(classify(Spoken(CHAT, path, 0, is_streamed=False), answer), Kind.CLIENT_ERROR)

    def _note(self, outcome: Outcome, *allowed: Kind) -> None:
        self._soaked.kinds[outcome.kind] += 1
        is_expected = outcome.kind in (*allowed, Kind.OVER_QUOTA, Kind.UNAVAILABLE)
        if not is_expected and len(self._soaked.remarks) < _MAX_REMARKS:
            self._soaked.remarks.append(f"{outcome.kind.value}: {outcome.describe()}"[:300])


async def _hold(server: Server) -> Resources:
    """What the server holds once nothing is going on; connections are closed within the moment."""
    await server.wait_until_idle(10.0)
    await asyncio.sleep(1.0)
    load = await server.load()
    return Resources(server.num_fds(), server.num_threads(), load.num_free_blocks)


async def _soak(settings: Settings, minutes: float, module: tuple[str, ...] = ("portico",)) -> Soaked:
    soaked = Soaked()
    async with run_server(settings, *_FLAGS, engine="native", module=module) as server:
        learnt = await learn(server, _NUM_TOKENS, 4, concurrency=1)
        # TGI tells of a full queue inside a stream.
        requests = [each for each in learnt if not (each.dialect is TGI and each.is_streamed)]
        await _use_kv_cache(server)
        _, capacity = await closed_loop(server, requests, _SLOTS, settings.pick(400, 120))
        traffic = _Traffic(server, requests, soaked)
        # A stalled reader's stream is as much work as many requests.
        rate = _LOAD * capacity / (1 + _STALLED * _STALLED_TOKENS / _NUM_TOKENS)
        warm_up = 60 * minutes * _WARM_UP_SHARE
        await traffic.run(rate, warm_up)
        soaked.before = await _hold(server)
        soaked.kinds.clear()
        sampling = asyncio.create_task(_sample(server, soaked.samples))
        await traffic.run(rate, 60 * minutes - warm_up)
        sampling.cancel()
        soaked.after = await _hold(server)
    return soaked


async def _use_kv_cache(server: Server) -> None:
    """Has all blocks written once: the system gives their memory then, which is no leak."""
    num_tokens = (await server.load()).num_free_blocks * _BLOCK_TOKENS
    for place in range(num_tokens // _PROMPT_LEN + 1):
        prompt = [(place * _PROMPT_LEN + each) * 7 % 4000 + 100 for each in range(_PROMPT_LEN)]
        body = {"prompt": prompt, "max_tokens": 1}
        answer = await exchange(server.address, encode_request("POST", "/v1/completions", body))
        assert answer.status == 200, answer.text


async def _sample(server: Server, samples: list[tuple[float, int]]) -> None:
    started_at = time.perf_counter()
    while True:
        await asyncio.sleep(_SAMPLE_SECONDS)
        samples.append((time.perf_counter() - started_at, server.tree_resident_bytes()))


async def _check_soak(settings: Settings) -> Result:
    soaked = await _soak(settings, settings.minutes)
    control = await _soak(
        settings, max(settings.minutes * _CONTROL_SHARE, 0.5), ("reliability.faulty_server", "--fault", "leak")
    )
    found = control.problems()
    problems = soaked.problems()
    for sign in ("memory grew", "num_fds grew"):
        if not any(each.startswith(sign) for each in found):
            problems.append(f"the server with a leak was not told by '{sign}': {control.figure()}")
    rate, _ = control.growth
    leak = f"the server with a leak grew {rate * 600 / 2**20:.0f} MiB per 10 min and was found out"
    return Result.judge(f"{soaked.figure()}; {leak}", problems)


CHECKS = (
    Check(
        "L9",
        "Load",
        "Soak",
        "30 minutes at 0.8 C with 20% cancels, 5% bad input and 1% stalled readers: memory grows by at most 1 MiB in "
        "10 minutes, descriptors, threads (but for a bounded pool) and free blocks are as before, no unexpected class; "
        "a server with a leak fails",
        _check_soak,
        uses_model=True,
        limit=600,
    ),
)
