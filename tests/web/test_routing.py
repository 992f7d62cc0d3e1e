from __future__ import annotations

import pytest

from portico.web.routing import RouteConflict, UnclaimedBody, build_paths, find_dialect, find_similar
from tests.web.fake_dialect import FakeDialect


def test_a_path_that_two_dialects_want_is_an_error_at_start() -> None:
    with pytest.raises(RouteConflict, match="POST /write is wanted by a, b"):
        build_paths((FakeDialect("a"), FakeDialect("b")), {})


def test_claims_tell_shared_paths_apart() -> None:
    first, second = FakeDialect("a", claims="x"), FakeDialect("b", claims="y")
    shared = next(path for path in build_paths((first, second), {}) if path.path == "/write")
    assert shared.choose("POST", b"x y").dialect is first
    assert shared.choose("POST", b"y").dialect is second
    with pytest.raises(UnclaimedBody, match="needs a JSON object with `x` or `y`") as caught:
        shared.choose("POST", b"z")
    assert caught.value.dialect is second


def test_precedence_settles_what_nothing_tells_apart() -> None:
    dialects = (FakeDialect("a"), FakeDialect("b"))
    shared = next(path for path in build_paths(dialects, {("POST", "/write"): ("b", "a")}) if path.path == "/write")
    assert shared.choose("POST", b"").dialect is dialects[1]


@pytest.mark.parametrize(
    ("path", "name"), [("/v1/x", "one"), ("/v1", "one"), ("/v1/deep/x", "deep"), ("/v11", "first"), ("/", "first")]
)
def test_unknown_paths_go_to_the_longest_prefix(path: str, name: str) -> None:
    dialects = (
        FakeDialect("first"),
        FakeDialect("one", prefixes=("/v1",)),
        FakeDialect("deep", prefixes=("/v1/deep",)),
    )
    assert find_dialect(dialects, path).name == name


@pytest.mark.parametrize(
    ("asked", "similar"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/completions", "/v1/completions"),
        ("/health/", "/health"),
        ("//health", "/health"),
        ("/v1/generate", "/generate"),
        ("/lth", None),
        ("/health/x", None),
        ("/v2/models", None),
        ("//", None),
    ],
)
def test_a_path_that_may_have_been_meant(asked: str, similar: str | None) -> None:
    paths = ("/", "/v1/chat/completions", "/v1/completions", "/health", "/generate", "/v2/models/{model:path}")
    assert find_similar(paths, asked) == similar
