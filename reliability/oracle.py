"""What must hold whatever is sent: nobody else notices, nothing is left behind, nothing is given away.

async with watch(server) as oracle:
    for payload in payloads:
        problems += oracle.judge(await server.request("POST", path, payload), "what was sent")
problems += oracle.problems        # known once the block is left
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from reliability.client import Answer, End
from reliability.outcome import Kind
from reliability.server import Load, Server
from reliability.spoken import CHAT, Spoken, SpokenDialect
from reliability.traffic import learn, quantile, send

LIVE = "/v2/health/live"
_MAX_SECONDS = 2.0
_MAX_LIVE_SECONDS = 0.25
_MAX_GROWTH = 16 << 20
_LEAKS = re.compile(r"Traceback|File \"|/(?:home|usr|tmp|root|work)/\w|site-packages|0x[0-9a-f]{8,}")


@dataclass
class Oracle:
    """Follows one server while it is sent what it must refuse.

    Attributes:
        problems: what did not hold; complete once `watch` is left.
        live_seconds: how long each probe of liveness took.
        num_streams: background streams that ended with the text they must have.
    """

    server: Server
    problems: list[str] = field(default_factory=list)
    live_seconds: list[float] = field(default_factory=list)
    num_streams: int = 0

    def judge(
        self,
        answer: Answer,
        what: str,
        dialect: SpokenDialect | None = None,
        statuses: range = range(400, 500),
        within: float = _MAX_SECONDS,
    ) -> list[str]:
        """Sentences for what is wrong with one refusal: its time, its status, its shape, or what it gives away."""
        if answer.end is not End.COMPLETE:
            return [f"{what}: {answer.end.value}"]
        problems = []
        if answer.seconds > within:
            problems.append(f"{what}: refused after {answer.seconds:.1f} s")
        if answer.status not in statuses:
            problems.append(f"{what}: status {answer.status}: {answer.text[:120]}")
        elif dialect is not None and not dialect.is_error(answer.body):
            problems.append(f"{what}: not an error of {dialect.name}: {answer.text[:120]}")
        if leaked := _LEAKS.search(answer.text):
            problems.append(f"{what}: the answer has {leaked[0]!r}")
        return problems

    def summary(self) -> str:
        """What was watched, in a few words."""
        return f"live p99 {quantile(self.live_seconds, 0.99) * 1000:.0f} ms, {self.num_streams} streams exact beside"

    async def stream(self, background: Spoken, stopping: asyncio.Event) -> None:
        """Asks for the same stream again and again."""
        while not stopping.is_set():
            outcome = await send(self.server, background)
            if outcome.kind is not Kind.OK:
                self.problems.append(f"a background stream ended as {outcome.kind.value}: {outcome.remark}")
                return
            self.num_streams += 1

    async def probe(self, stopping: asyncio.Event) -> None:
        """Asks whether the server lives ten times a second."""
        while not stopping.is_set():
            started_at = time.perf_counter()
            status = await self.server.status(LIVE)
            self.live_seconds.append(time.perf_counter() - started_at)
            if status != 200:
                self.problems.append(f"a probe of liveness had status {status}")
            await asyncio.sleep(0.1)


@asynccontextmanager
async def watch(
    server: Server, max_growth: int = _MAX_GROWTH, num_tokens: int = 48, slack: float = 1.0
) -> AsyncIterator[Oracle]:
    """Runs a background stream and a probe of liveness around the block.

    When the block is left: the background streams were all exact, no probe failed and 99 of 100 took at most 250 ms
    (times `slack`), the engine is the same process, nothing runs or waits within a second, all blocks of the KV cache
    are free again, and the memory of server and engine grew by at most `max_growth` bytes.
    """
    oracle = Oracle(server)
    (background,) = await learn(server, num_tokens, 1, (CHAT,), is_streamed=True)
    before, identity, resident = await server.load(), server.engine_identity(), server.tree_resident_bytes()
    stopping = asyncio.Event()
    tasks = [
        asyncio.create_task(oracle.stream(background, stopping)),
        asyncio.create_task(oracle.probe(stopping)),
    ]
    try:
        yield oracle
    finally:
        stopping.set()
        await asyncio.gather(*tasks)
    if (slowest := quantile(oracle.live_seconds, 0.99)) > _MAX_LIVE_SECONDS * slack:
        oracle.problems.append(f"the probe of liveness took {slowest:.2f} s (p99)")
    if server.engine_identity() != identity:
        oracle.problems.append("the engine's process is another one")
    oracle.problems += await _find_leftovers(server, before, slack)
    if (growth := server.tree_resident_bytes() - resident) > max_growth:
        oracle.problems.append(f"the server grew by {growth / 2**20:.0f} MiB")


async def _find_leftovers(server: Server, before: Load, slack: float) -> list[str]:
    if await server.wait_until_idle(slack) is None:
        return [f"after {slack:g} s there is still work: {await server.load()}"]
    lost = before.num_free_blocks - (await server.load()).num_free_blocks
    return [f"{lost} blocks of KV cache were not freed"] if lost else []
