"""What no client should send, sent to every path that reads it, with a stream and a probe of liveness beside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from reliability import large_answers, sequences
from reliability.access import ALICE, write_keys
from reliability.check import Check, Result, Settings
from reliability.client import encode_request, exchange
from reliability.payloads import framing, grammars, numbers, paths, prompts
from reliability.payloads.attack import Attack
from reliability.sending import attack_all, choose
from reliability.server import Server, run_server
from reliability.spoken import MODEL
from reliability.surfaces import surfaces

_SURFACES = surfaces(MODEL)
_NUMBERS = tuple(f"A{number}" for number in range(1, 15))
_GRAMMARS = ("B1", "B2", "B3", "B7")
_BODIES = ("C1", "C2", "C3", "C4", "C5", "C9", "C13")
_TENSORS = ("C8", "C15", "A14", "E3")
# How the demo model's vocabulary spells `<tool_call>`.
_MARKER_IDS = (27, 83, 78, 600, 62, 66, 610, 29)
# The demo model's own takes no tools.
_TEMPLATE = "{{ tools | tojson }}{% for message in messages %}{{ message.content }}{% endfor %}"
_PROMPTS = ("E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8")
# A short form allows for what the interpreter keeps of its first thousands of objects.
_FIRST_GROWTH = 48 << 20
# Of the same bodies again and again: what the interpreter keeps of the objects of one of them.
_MAX_REPEATED_GROWTH = 48 << 20
_LARGE_PATH = "/v1/chat/completions"


async def _check_numbers(settings: Settings) -> Result:
    attacks = choose(numbers.attacks(_SURFACES), _NUMBERS, settings, 250)
    async with run_server(settings, engine="native") as server:
        result = await attack_all(server, attacks, settings, _FIRST_GROWTH)
        return result.joined([await sequences.check_names(server, settings)])


async def _check_grammars(settings: Settings) -> Result:
    attacks = choose(grammars.attacks(_SURFACES), _GRAMMARS, settings, 80)
    async with run_server(settings, engine="native") as server:
        result = await attack_all(server, attacks, settings, 256 << 20)
        idle = await _processor_share(server)
        further = [await sequences.check_after_each_other(server), await sequences.check_many_schemas(server, settings)]
    problems = [] if idle < 0.2 else [f"a second after the last refusal {idle:.2f} of a core is still in use"]
    return result.joined([Result.judge(f"{idle:.2f} of a core in use afterwards", problems), *further])


async def _processor_share(server: Server) -> float:
    """Of one core, over the second after the first."""
    await asyncio.sleep(1.0)
    before = server.cpu_seconds()
    await asyncio.sleep(1.0)
    return server.cpu_seconds() - before


async def _check_templates(settings: Settings) -> Result:
    attacks = choose(grammars.attacks(_SURFACES), ("B8",), settings, 40)
    canary = settings.directory / "executed"
    attacks += list(_escapes(str(canary)))
    async with run_server(settings) as server:
        result = await attack_all(server, attacks, settings, _FIRST_GROWTH)
    template = settings.directory / "takes-tools.jinja"
    template.write_text(_TEMPLATE, encoding="utf-8")
    flags = ("--tool-call-parser", "hermes", "--chat-template", str(template), "--max-model-len", str(1 << 20))
    script = ("--tokens-per-step", "64", "--script", *map(str, _MARKER_IDS))
    async with run_server(settings, *flags, *script) as server:
        markers = await sequences.check_markers(server, settings, _MARKER_IDS)
    return result.joined([Result.judge("", ["code of a template was run"] if canary.exists() else []), markers])


def _escapes(canary: str) -> Iterator[Attack]:
    source = "{{ cycler.__init__.__globals__.os.popen('touch %s').read() }}" % canary  # noqa: UP031
    for surface in _SURFACES:
        if "messages" in surface.body:
            yield from grammars.templates(surface, (("a way out of the sandbox", {"chat_template": source}),))


async def _check_bodies(settings: Settings) -> Result:
    attacks = choose(framing.attacks(_SURFACES, MODEL), _BODIES, settings, 300)
    async with run_server(settings) as server:
        result = await attack_all(server, attacks, settings, _FIRST_GROWTH)
        return result.joined([await _send_raw(server, settings)])


async def _send_raw(server: Server, settings: Settings) -> Result:
    """Requests whose head is at fault, byte by byte."""
    problems = []
    cases = list(framing.raw_messages())
    for label, message, statuses in cases:
        answer = await exchange(server.address, message, 5.0 * settings.slack)
        if answer.status not in statuses:
            problems.append(f"{label}: {answer.end.value}, status {answer.status}: {answer.text[:80]}")
    return Result.judge(f"{len(cases)} heads", problems)


async def _check_paths(settings: Settings) -> Result:
    """Without a key nothing but liveness and readiness is answered, however the path or the host is written."""
    problems, num_sent = [], 0
    keys = write_keys(settings, "paths")
    flags = ("--api-key-file", str(keys), "--max-auth-failures-per-minute", "0")
    async with run_server(settings, *flags) as server:
        body = next(each for each in _SURFACES if each.name == "chat").body
        for label, method, target, headers in paths.requests(MODEL):
            message = encode_request(method, target, dict(body) if method == "POST" else None, headers)
            answer = await exchange(server.address, message, 5.0 * settings.slack)
            num_sent += 1
            # A head that is no HTTP is answered with 400, or with the end of the connection.
            if answer.status // 100 in (2, 5):
                problems.append(f"{label}: {method} {target} had status {answer.status}: {answer.text[:80]}")
        right = {"authorization": f"Bearer {ALICE}"}
        control = await server.request("POST", "/v1/chat/completions", dict(body), right)
        for origin in ("http://evil.example", "null", "http://127.0.0.1"):
            for method in ("POST", "OPTIONS"):
                asked = {**right, "origin": origin, "access-control-request-method": "POST"}
                answer = await server.request(method, "/v1/chat/completions", dict(body), asked)
                if any(name.startswith("access-control-allow") for name in answer.headers):
                    problems.append(f"pages of {origin} may read answers to {method}")
    if control.status != 200:
        problems.append(f"with its key the same request had status {control.status}")
    return Result.judge(f"{num_sent} ways without a key, {len(problems)} answered", problems)


async def _check_tensors(settings: Settings) -> Result:
    attacks = choose(framing.attacks(_SURFACES, MODEL), _TENSORS, settings, 500)
    async with run_server(settings) as server:
        return await attack_all(server, attacks, settings, _FIRST_GROWTH)


async def _check_prompts(settings: Settings) -> Result:
    async with _canary() as (address, connections), run_server(settings, engine="native") as server:
        attacks = choose(prompts.attacks(_SURFACES, address), _PROMPTS, settings, 30)
        result = await attack_all(server, attacks, settings, 256 << 20)
    problems = ["an address in a request was asked"] if connections else []
    large = await large_answers.check(settings)
    return result.joined([Result.judge(f"{len(connections)} connections to the canary", problems), large])


async def _check_repeats(settings: Settings) -> Result:
    """The largest bodies there can be, each refused again and again."""
    growths: list[str] = []
    problems: list[str] = []
    async with run_server(settings) as server:
        for name, body in _large_bodies():
            grown = await _repeat(server, body, settings.pick(100, 8))
            growths.append(f"{name} {grown / 2**20:+.0f} MiB")
            if grown > _MAX_REPEATED_GROWTH:
                problems.append(f"{name}: the server grew by {grown / 2**20:.0f} MiB")
    return Result.judge(", ".join(growths), problems)


def _large_bodies() -> Iterator[tuple[str, bytes]]:
    text = b"x" * (15 << 20)
    yield "a text of 15 MiB where there must be a list", b'{"messages": "%b"}' % text
    yield "a prompt of 15 MiB", b'{"messages": [{"role": "user", "content": "%b"}]}' % text
    yield "15 MiB that do not end", b'{"messages": "%b' % text
    words = b",".join(b'"%d"' % number for number in range(500_000))
    yield "500,000 stop strings", b'{"messages": [{"role": "user", "content": "x"}], "stop": [%b]}' % words


async def _repeat(server: Server, body: bytes, number: int) -> int:
    """Bytes by which the server has grown a second after so many refusals of a body."""
    await server.request("POST", _LARGE_PATH, b"{}")
    before = server.resident_bytes()
    for _ in range(number):
        answer = await server.request("POST", _LARGE_PATH, body)
        if answer.status != 400:
            raise ValueError(f"a body that had to be refused had status {answer.status}")
    await asyncio.sleep(1.0)
    return server.resident_bytes() - before


@asynccontextmanager
async def _canary() -> AsyncIterator[tuple[str, list[str]]]:
    """The address of a listener, and who has connected to it."""
    connections: list[str] = []

    def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(str(writer.get_extra_info("peername")))
        writer.close()

    listener = await asyncio.start_server(note, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", connections


_ORACLE = (
    "refused within 2 s in the wire's shape; streams beside exact; live p99 250 ms; same engine; nothing left behind"
)
CHECKS = (
    Check(
        "X1",
        "Bad input",
        "numbers, lists and fields that are none",
        _ORACLE,
        _check_numbers,
        is_quick=True,
        uses_model=True,
    ),
    Check(
        "X2",
        "Bad input",
        "grammars, expressions and schemas made not to end",
        f"{_ORACLE}; the processor idle after a second; new schemas again and again take no more memory",
        _check_grammars,
        is_quick=True,
        uses_model=True,
    ),
    Check(
        "X3",
        "Bad input",
        "templates in requests",
        f"{_ORACLE}; no code run; a model that opens calls for ever is answered in linear time",
        _check_templates,
        is_quick=True,
    ),
    Check("X4", "Bad input", "bodies and heads that are not what they say", _ORACLE, _check_bodies, is_quick=True),
    Check(
        "X5",
        "Bad input",
        "paths and hosts written otherwise, without a key",
        "no 2xx and no 5xx; no page of elsewhere may read an answer",
        _check_paths,
        is_quick=True,
    ),
    Check("X7", "Bad input", "tensors that are not what they say", _ORACLE, _check_tensors, is_quick=True),
    Check(
        "X9",
        "Bad input",
        "media, addresses and prompts that cost more than they say",
        f"{_ORACLE}; nothing fetched; the same of requests for large answers, which are given",
        _check_prompts,
        is_quick=True,
        uses_model=True,
    ),
    Check(
        "X11",
        "Bad input",
        "the largest bodies, refused again and again",
        "the server grows by no more than the objects of one body take, 48 MiB",
        _check_repeats,
        is_quick=True,
    ),
)
