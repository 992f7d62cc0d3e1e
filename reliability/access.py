"""Who is let in: every route with every kind of key, and every way to write a key that is not one."""

from __future__ import annotations

import inspect
import math
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from portico.app import build_dialects, find_precedence
from portico.config import ServerConfig
from portico.core.tenant import Tenant
from portico.service.keyring import Keyring, digest
from portico.web.routing import build_paths
from reliability.check import Check, Result, Settings
from reliability.client import encode_request, exchange
from reliability.server import Server, run_server

ALICE, BOB, OPERATOR = "sk-Reliability-alice", "sk-Reliability-bob", "sk-Reliability-operator"
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
_OPEN = {
    *(("GET", path) for path in ("/", "/health", "/ping", "/v2/health/live", "/v2/health/ready")),
    ("POST", "/ping"),
}
_FOR_OPERATORS = "/stopService"
_STRANGE_PATHS = (
    "/nowhere",
    "/v1/nowhere",
    "/v2/nowhere",
    "//v1/models",
    "/V1/models",
    "/v1/models/",
    "/debug",
)


def write_keys(settings: Settings, name: str, limits: str = "") -> Path:
    """A file of keys for a server: two tenants, the first with these lines of limits, and an operator."""
    path = settings.directory / f"{name}.toml"
    path.write_text(
        f'[alice]\nkey = "{ALICE}"\n{limits}\n[bob]\nkey = "{BOB}"\n[operator]\nkey = "{OPERATOR}"\noperator = true\n',
        encoding="utf-8",
    )
    return path


def bearer(key: str) -> dict[str, str]:
    """The header that a client sends with a key."""
    return {"authorization": f"Bearer {key}"}


def _table() -> list[str]:
    """Every path of the application's own table, with values for its variable parts."""
    paths = [
        each.path
        for each in build_paths(build_dialects(ServerConfig()), find_precedence("default"), for_operators=True)
    ]
    filled = [
        re.sub(r"{(\w+)(:path)?}", lambda found: "1" if found[1] == "seconds" else "model", each) for each in paths
    ]
    return [*filled, "/metrics", *_STRANGE_PATHS]


async def _check_routes(settings: Settings) -> Result:
    keys = write_keys(settings, "routes")
    paths = _table()
    problems: list[str] = []
    # All from one address.
    flags = ("--api-key-file", str(keys), "--max-auth-failures-per-minute", "0")
    async with run_server(settings, *flags) as server:
        for name, headers in (
            ("no", {}),
            ("a wrong", bearer("wrong")),
            ("a loud", bearer(ALICE.upper())),
        ):
            for path in paths:
                for method in _METHODS:
                    status = (await server.request(method, path, headers=headers)).status
                    expected = 200 if (method, path) in _OPEN else 401
                    if status != expected:
                        problems.append(f"{method} {path} with {name} key: {status}, not {expected}")
        stop = (await server.request("GET", _FOR_OPERATORS, headers=bearer(OPERATOR))).status
        if stop != 404:
            problems.append(f"GET {_FOR_OPERATORS} on the data port with an operator's key: {stop}, not 404")
        metrics = [(await server.request("GET", "/metrics", headers=bearer(key))).status for key in (ALICE, OPERATOR)]
        if metrics != [403, 200]:
            problems.append(f"GET /metrics with a tenant's and an operator's key: {metrics}, not 403 and 200")
        for path in paths:
            status = (await server.request("GET", path, headers=bearer(ALICE))).status
            if status == 401:
                problems.append(f"GET {path} with a right key: 401")
    problems += await _find_further_sockets(settings)
    return Result.judge(f"{len(paths)} paths x {len(_METHODS)} methods x 3 kinds of no key", problems)


async def _find_further_sockets(settings: Settings) -> list[str]:
    """What listens beside the port that was asked for, of a server with its engine in a process of its own."""
    async with run_server(settings, engine="native") as server:
        host, port = server.address
        found = server.listening()
    return [] if found == {f"{host}:{port}"} else [f"asked for {host}:{port}, it listens at {sorted(found)}"]


_WRONG = (
    "", "Authorization:", "Authorization: Bearer", "Authorization: {key}", "Authorization: Bearer {lower}",
    "Authorization: Bearer {upper}", "Authorization: Bearer  {key}", "Authorization: Bearer {key}x",
    "Authorization: Bearer {short}", 'Authorization: Bearer "{key}"', "Authorization: Bearer {key},",
    "Authorization: Basic {key}", "Authorization: Token {key}", "Authorization: Bearer\t{key}",
    "Authorization: Bearer {key}, Bearer {key}", "Authorization: Bearer \xe9\xff", "Authorization: B\xe9arer {key}",
    "Authorization: Bearer ' OR 1=1--", "Authorization: Bearer *", "Authorization: Bearer null", "x-api-key:",
    "x-api-key: Bearer {key}", "x-api-key: {lower}", "Proxy-Authorization: Bearer {key}", "Cookie: api_key={key}",
    "Authorization: Bearer {key}\r\nAuthorization: Bearer {key}", "Authorization: Bearer {key}\r\nx-api-key: wrong",
    "x-api-key: {key}\r\nx-api-key: {key}", "Authorization: Bearer {digest}", "Authorization: Bearer {long}",
    "X-Original-URL: /health", "X-Forwarded-User: alice", "X-HTTP-Method-Override: GET",
)  # fmt: skip
_RIGHT = (
    "Authorization: Bearer {key}",
    "authorization: bearer {key}",
    "AUTHORIZATION: BEARER {key}",
    "X-Api-Key: {key}",
)


async def _status_with(server: Server, lines: str) -> int:
    filled = lines.format(
        key=ALICE,
        lower=ALICE.lower(),
        upper=ALICE.upper(),
        short=ALICE[:-1],
        long="x" * 50_000,
        digest=digest(ALICE.encode()).hex(),
    )
    host = "Host: 127.0.0.1\r\n"
    message = f"GET /v1/models HTTP/1.1\r\n{host}{filled}\r\n{'' if not filled else chr(13) + chr(10)}"
    return (await exchange(server.address, message.encode("latin-1"), 10)).status


async def _check_keys(settings: Settings) -> Result:
    keys = write_keys(settings, "keys")
    problems: list[str] = []
    async with run_server(settings, "--api-key-file", str(keys)) as server:
        for lines in _WRONG:
            if (status := await _status_with(server, lines)) not in (400, 401, 431):
                problems.append(f"{lines[:60]!r}: {status}")
        for lines in _RIGHT:
            if (status := await _status_with(server, lines)) != 200:
                problems.append(f"{lines!r}: {status}, not 200")
        for query in ("api_key", "key", "access_token"):
            answer = await exchange(server.address, encode_request("GET", f"/v1/models?{query}={ALICE}"), 10)
            if answer.status != 401:
                problems.append(f"the key in the query as {query}: {answer.status}, not 401")
        if ALICE in server.log:
            problems.append("the key is in the log")
    if "compare_digest" not in inspect.getsource(Keyring.find):
        problems.append("keys are not compared by compare_digest")
    t = _timing_difference(settings.pick(20_000, 2000))
    return Result.judge(f"{len(_WRONG) + 3} wrong ones; compared by digest, timing |t| = {t:.1f} (advisory)", problems)


def _timing_difference(number: int) -> float:
    """Welch's t between the times that a wrong key takes which begins as the right one does, and one that does not."""
    ring = Keyring([(digest(ALICE.encode()), Tenant("alice", ""))])
    near, far = f"{ALICE[:-1]}x".encode(), ("y" * len(ALICE)).encode()
    times: tuple[list[float], list[float]] = ([], [])
    for index in range(2 * number):
        key = (near, far)[index % 2]
        started_at = time.perf_counter()
        ring.find(key)
        times[index % 2].append(time.perf_counter() - started_at)
    # Interruptions by other programs say nothing of the comparison.
    return abs(welch(*(sorted(each)[: number * 9 // 10] for each in times)))


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """Welch's t of two samples."""
    spread = math.sqrt(statistics.variance(first) / len(first) + statistics.variance(second) / len(second))
    return (statistics.mean(first) - statistics.mean(second)) / spread if spread else 0.0


CHECKS = (
    Check(
        "T1", "Tenant", "every route with every kind of key",
        "without a right key only health is answered; operators' routes are 404 on the data port; nothing else listens",
        _check_routes, is_quick=True, uses_model=True,
    ),
    Check(
        "T2", "Tenant", "keys that are none",
        "no 2xx and no 5xx; digests, compared in constant time",
        _check_keys, is_quick=True,
    ),
)  # fmt: skip
