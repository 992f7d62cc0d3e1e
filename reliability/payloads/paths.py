"""Rows C6, C7 and C14: the same path, host or model, written so that two readers may differ about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_HOSTS = (
    "x/health?",
    "x/v2/health/live?",
    "x/ping#",
    "127.0.0.1/health",
    "127.0.0.1:80@evil.example",
    "evil.example",
    "127.0.0.1\\@x",
    "[::1]/health?",
    "",
    "a b",
    "x" * 5000,
    "127.0.0.1, health",
)
_HEADERS: tuple[Mapping[str, str], ...] = (
    {"x-original-url": "/health"},
    {"x-rewrite-url": "/health"},
    {"x-forwarded-prefix": "/health"},
    {"x-forwarded-host": "x/health?"},
    {"x-forwarded-for": "127.0.0.1"},
    {"forwarded": "for=127.0.0.1;host=health"},
    {"x-http-method-override": "GET"},
    {"x-forwarded-uri": "/health"},
    {"x-real-ip": "127.0.0.1"},
)
_TARGETS = (
    "//v1/chat/completions",
    "/v1/./chat/completions",
    "/v1//chat/completions",
    "/health/../v1/chat/completions",
    "/health/%2e%2e/v1/chat/completions",
    "/health/..%2fv1/chat/completions",
    "/v1/%2e%2e/v1/chat/completions",
    "/V1/chat/completions",
    "/v1/chat/completions/",
    "/v1/chat/completions;x=/health",
    "/v1/chat/completions?/health",
    "/v1/chat/completions?x=/v2/health/live",
    "/v1/chat/completions%00/health",
    "/v1/chat/completions%20",
    "/v1/chat%2Fcompletions",
    "/v1%2Fchat%2Fcompletions",
    "/%76%31/chat/completions",
    "/v1/chat/completions#/health",
    "\\v1\\chat\\completions",
    "/v2/health/live/../../../v1/chat/completions",
    "http://127.0.0.1/v1/chat/completions",
    "http://x/health?/v1/chat/completions",
    "http://health/v1/chat/completions",
)
_MODELS = (
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%00",
    "x" * 60_000,
    "%F0%9F%98%80",
    "%ff%fe",
    ".",
    "..",
    "con",
    "{model}",
    "$(id)",
    "%0d%0aset-cookie:x",
)


def requests(model: str) -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """Label, method, target and headers of requests that nobody without a key may have answered."""
    guarded = (
        "/v1/chat/completions",
        "/invocations",
        "/generate",
        f"/v2/models/{model}/generate",
        "/infer",
        "/tokenize",
    )
    for path in guarded:
        for host in _HOSTS:
            yield "host", "POST", path, {"host": host}
        for headers in _HEADERS:
            yield "header", "POST", path, {**headers}
    for target in _TARGETS:
        yield "target", "POST", target, {}
    for name in _MODELS:
        yield "model", "POST", f"/v2/models/{name}/generate", {}
        yield "model", "GET", f"/v2/models/{name}", {}
        yield "model", "GET", f"/v2/models/{name}/config", {}
        yield "version", "POST", f"/v2/models/{model}/versions/{name}/generate", {}
        yield "model", "GET", f"/v1/models/{name}", {}
        yield "region", "POST", f"/v2/systemsharedmemory/region/{name}/register", {}
