"""The engine fails on a request, dies, is killed, hangs, or has no memory left."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reliability.check import Check, Result, Settings
from reliability.faulty_worker import DECODE_WORD, PREFILL_WORD
from reliability.outcome import Kind, Outcome, count, unexpected
from reliability.server import Server, run_server
from reliability.spoken import ANTHROPIC, CHAT, COMPLETION, DIALECTS, ENDLESS, TGI, VLLM, Spoken
from reliability.traffic import in_ms, learn, send

_READY, _LIVE = "/v2/health/ready", "/v2/health/live"
_TOLD = (Kind.SERVER_ERROR, Kind.UNAVAILABLE, Kind.TIMED_OUT, Kind.STREAM_ERROR)


def _long(num_tokens: int, prompt: str = "Tell me everything") -> list[Spoken]:
    """A request for many tokens in each dialect that can ask for exactly so many, streamed and whole."""
    dialects = [dialect for dialect in DIALECTS if dialect is not ANTHROPIC]
    return [Spoken(dialect, prompt, num_tokens, form, extra=ENDLESS) for dialect in dialects for form in (True, False)]


@dataclass(frozen=True, slots=True)
class _Death:
    """What clients saw of the end of an engine; times are in seconds after it, None is never."""

    outcomes: list[Outcome]
    told_after: float
    not_ready_after: float | None
    ready_after: float | None
    live: list[int]

    def problems(self, load_seconds: float, slack: float) -> list[str]:
        found = unexpected(self.outcomes, *_TOLD)
        if self.told_after > 2 * slack:
            found.append(f"a request was told after {self.told_after:.1f} s")
        if self.not_ready_after is None or self.not_ready_after > slack:
            found.append(f"readiness was 503 after {self.not_ready_after} s")
        if self.ready_after is None or self.ready_after > load_seconds + 2 * slack:
            found.append(f"it was ready again after {self.ready_after} s, and takes {load_seconds:.1f} s to load")
        if strange := [status for status in self.live if status != 200]:
            found.append(f"liveness had status {strange[0]}")
        return found

    def figure(self) -> str:
        ready = "never" if self.ready_after is None else f"{self.ready_after:.1f} s"
        return f"{count(self.outcomes)}; told within {in_ms(self.told_after)}, ready again after {ready}"


async def _watch_death(server: Server, tasks: Sequence[asyncio.Task[Outcome]], died_at: float) -> _Death:
    """Follows a server from the moment its engine is gone until it serves again."""
    not_ready_after = await server.wait_for_status(_READY, 503, 5.0)
    live = [await server.status(_LIVE)]
    outcomes = list(await asyncio.gather(*tasks))
    live.append(await server.status(_LIVE))
    ready = await server.wait_for_status(_READY, 200, 60.0)
    ready_after = None if ready is None else time.perf_counter() - died_at
    told_after = max(each.answer.ended_at for each in outcomes) - died_at
    return _Death(outcomes, told_after, not_ready_after, ready_after, [*live, await server.status(_LIVE)])


async def _start_and_measure(server: Server, started_at: float) -> tuple[Spoken, float]:
    """A request with its text, and how long the server took to be ready, which its engine's loading is a part of."""
    load_seconds = time.perf_counter() - started_at
    (probe,) = await learn(server, 8, 1, (CHAT,), is_streamed=True)
    return probe, load_seconds


async def _check_fatal(settings: Settings) -> Result:
    """The step that evaluates the trigger ends the engine's process, as a fault in native code would."""
    started_at = time.perf_counter()
    async with run_server(settings, engine="native", module=_faulty("die")) as server:
        probe, load_seconds = await _start_and_measure(server, started_at)
        tasks = [asyncio.create_task(send(server, each)) for each in _long(1500)]
        await asyncio.sleep(0.5)
        died_at = time.perf_counter()
        tasks.append(asyncio.create_task(send(server, Spoken(VLLM, PREFILL_WORD, 5, is_streamed=False))))
        death = await _watch_death(server, tasks, died_at)
        after = await send(server, probe)
    return Result.judge(death.figure(), death.problems(load_seconds, settings.slack) + unexpected([after], Kind.OK))


async def _check_one_request_fails(settings: Settings) -> Result:
    scripted = await _fail_one_scripted(settings)
    return scripted.joined([await _fail_one_native(settings)])


async def _fail_one_scripted(settings: Settings) -> Result:
    token_id = 777
    flags = ("--token-delay", "0.01", "--fail-token-id", str(token_id), "--fail-after", "5")
    async with run_server(settings, *flags) as server:
        others = await learn(server, 24, 2)
        bad = Spoken(COMPLETION, "", 24, is_streamed=False, extra=(("prompt", [1, 2, token_id]),))
        sent = [*others, bad, replace(bad, is_streamed=True)]
        outcomes = await asyncio.gather(*(send(server, each) for each in sent))
    return _judge_one("scripted", outcomes, 2)


async def _fail_one_native(settings: Settings) -> Result:
    """The forward pass raises whenever one of the bad requests is in its batch."""
    async with run_server(settings, engine="native", module=_faulty("raise")) as server:
        others = await learn(server, 24, 2)
        identity = server.engine_identity()
        words = itertools.cycle((PREFILL_WORD, DECODE_WORD))
        bad = [Spoken(dialect, next(words), 24, is_streamed=False) for dialect in (CHAT, VLLM, TGI, COMPLETION)]
        outcomes = await asyncio.gather(*(send(server, each) for each in [*others, *bad, *others]))
        problems = [] if server.engine_identity() == identity else ["the engine was started again"]
    judged = _judge_one("native", outcomes, len(bad))
    return judged.joined([Result.judge("", problems)])


def _judge_one(engine: str, outcomes: Sequence[Outcome], num_bad: int) -> Result:
    bad = [each for each in outcomes if not each.spoken.expected]
    fine = [each for each in outcomes if each.spoken.expected]
    problems = unexpected(fine, Kind.OK) + unexpected(bad, Kind.SERVER_ERROR, Kind.STREAM_ERROR)
    assert len(bad) == num_bad
    return Result.judge(f"{engine}: of {num_bad} bad {count(bad)}; of the others {count(fine)}", problems)


async def _check_killed(settings: Settings) -> Result:
    started_at = time.perf_counter()
    async with run_server(settings, engine="native") as server:
        probe, load_seconds = await _start_and_measure(server, started_at)
        tasks = [asyncio.create_task(send(server, each)) for each in _long(1500)]
        await asyncio.sleep(0.5)
        died_at = time.perf_counter()
        _signal_engine(server, signal.SIGKILL)
        death = await _watch_death(server, tasks, died_at)
        after = await send(server, probe)
        problems = death.problems(load_seconds, settings.slack) + unexpected([after], Kind.OK)
        killed = Result.judge(f"killed: {death.figure()}", problems)
        return killed.joined([await _hang(server, probe, settings)])


async def _hang(server: Server, probe: Spoken, settings: Settings) -> Result:
    """A process that is stopped answers nothing and does not end."""
    tasks = [asyncio.create_task(send(server, each)) for each in _long(1500)]
    await asyncio.sleep(0.5)
    pid = _signal_engine(server, signal.SIGSTOP)
    not_ready_after = await server.wait_for_status(_READY, 503, 10.0 * settings.slack)
    live = await server.status(_LIVE)
    ready_after = await server.wait_for_status(_READY, 200, 30.0)
    if server.engine_pid == pid:
        os.kill(pid, signal.SIGCONT)
    outcomes = await asyncio.gather(*tasks)
    after = await send(server, probe)
    problems = unexpected(outcomes, *_TOLD) + unexpected([after], Kind.OK)
    if not_ready_after is None:
        problems.append("readiness stayed 200 with an engine that does nothing")
    if ready_after is None:
        problems.append("it was not ready again within 30 s")
    if live != 200:
        problems.append(f"liveness had status {live}")
    noticed = "not noticed" if not_ready_after is None else f"noticed after {not_ready_after:.1f} s"
    return Result.judge(f"stopped: {noticed}, {count(outcomes)}", problems)


def _signal_engine(server: Server, number: signal.Signals) -> int:
    pid = server.engine_pid
    assert pid is not None, "the native engine has a process"
    os.kill(pid, number)
    return pid


def _faulty(fault: str) -> tuple[str, ...]:
    return ("reliability.faulty_server", "--fault", fault)


async def _check_crash_loop(settings: Settings) -> Result:
    """Kills every engine as soon as it is there, and looks how long the next one takes to come."""
    number = settings.pick(5, 4)
    pauses: list[float] = []
    statuses: set[int] = set()
    async with run_server(settings, engine="native") as server:
        (probe,) = await learn(server, 8, 1, (CHAT,), is_streamed=True)
        for _ in range(number):
            pid = _signal_engine(server, signal.SIGKILL)
            killed_at = time.perf_counter()
            await asyncio.sleep(0.2)
            while server.engine_pid in (None, pid):
                statuses.add((await send(server, probe)).answer.status)
                await asyncio.sleep(0.05)
            pauses.append(time.perf_counter() - killed_at)
        live = await server.status(_LIVE)
        ready_after = await server.wait_for_status(_READY, 200, 60.0)
        after = await send(server, probe)
    problems = unexpected([after], Kind.OK)
    if statuses != {503}:
        problems.append(f"while there was no engine requests had the statuses {sorted(statuses)}")
    # The first pause is short, and each one after it about twice the one before.
    if not all(later > 1.3 * earlier for earlier, later in itertools.pairwise(pauses)):
        problems.append(f"pauses do not grow: {', '.join(f'{each:.1f} s' for each in pauses)}")
    if live != 200 or ready_after is None:
        problems.append(f"liveness {live}, ready again after {ready_after}")
    return Result.judge(
        f"{number} crashes, pauses {', '.join(f'{each:.1f}' for each in pauses)} s, meanwhile {sorted(statuses)}",
        problems,
    )


async def _check_no_memory(settings: Settings) -> Result:
    """The address space of the engine is limited to little more than it has, and one request needs far more."""
    async with run_server(settings, engine="native", module=_faulty("little-memory")) as server:
        others = await learn(server, 24, 1)
        identity = server.engine_identity()
        # A prompt as long as the context, all evaluated in one step.
        hungry = Spoken(
            COMPLETION,
            "",
            1,
            is_streamed=False,
            extra=(("prompt", list(range(1, 2000))), ("prompt_logprobs", 20)),
            expected="none",
        )
        large = await send(server, hungry)
        # Memory may run out where the process cannot go on; then it must come back.
        await asyncio.sleep(0.5)
        await server.wait_for_status(_READY, 200, 60.0)
        outcomes = await asyncio.gather(*(send(server, each) for each in others))
        live = await server.status(_LIVE)
        is_same = server.engine_identity() == identity
    problems = unexpected(outcomes, Kind.OK) + unexpected([large], *_TOLD, Kind.CLIENT_ERROR)
    if live != 200:
        problems.append(f"liveness had status {live}")
    engine = "the same engine" if is_same else "an engine started again"
    return Result.judge(f"the large request: {large.answer.status}; then {count(outcomes)} by {engine}", problems)


CHECKS = (
    Check(
        "F6",
        "Faults",
        "Engine dies in a step",
        "every request in flight gets an error within 2 s, ready is 503 within 1 s, and 200 again within the time of "
        "loading and 2 s",
        _check_fatal,
        is_quick=True,
        uses_model=True,
    ),
    Check(
        "F7",
        "Faults",
        "One request fails",
        "only that request gets a 500, the others are exact, the engine is not started again",
        _check_one_request_fails,
        is_quick=True,
        uses_model=True,
    ),
    Check(
        "F8",
        "Faults",
        "Engine killed, engine stopped",
        "after SIGKILL as F6; after SIGSTOP it is noticed within 10 s: ready 503, live 200, then it serves again",
        _check_killed,
        uses_model=True,
    ),
    Check(
        "F9",
        "Faults",
        "Crash loop",
        "5 crashes in a row: pauses before the next start grow, requests get 503 meanwhile, in the end it serves",
        _check_crash_loop,
        uses_model=True,
    ),
    Check(
        "F11",
        "Faults",
        "No memory for a request",
        "a request whose memory cannot be had gets an error, the server lives and serves others",
        _check_no_memory,
        uses_model=True,
    ),
)
