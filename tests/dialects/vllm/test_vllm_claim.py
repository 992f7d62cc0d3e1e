"""Which bodies of the shared path are this dialect's."""

from __future__ import annotations

import pytest

from tests.dialects.golden import find_route, load_dialect


@pytest.mark.parametrize(
    ("body", "is_claimed"),
    [
        (b'{"prompt":"x"}', True),
        (b'{"inputs":"x","prompt":"y"}', True),
        (b'{"prompt":5}', True),
        (b'{"prompt":[{"type":"text"}]}', True),
        (b'{"prompt": null ,"inputs":"x"}', False),
        (b'{"inputs":"x","parameters":{"prompt":"x"}}', False),
        (b"{}", False),
        (b'["prompt"]', False),
        (b'"prompt"', False),
        (b"", False),
        (b'{"prompt":"x"', False),
        (b"\xff", False),
        (b'{"a":' + b"[" * 100_000, False),
    ],
)
def test_claim(body: bytes, is_claimed: bool) -> None:
    route, _ = find_route(load_dialect("vllm"), "POST", "/generate")
    assert route.claim is not None
    assert route.claim.accepts(body) is is_claimed


def test_the_last_of_two_prompts_counts() -> None:
    route, _ = find_route(load_dialect("vllm"), "POST", "/generate")
    assert route.claim is not None
    assert not route.claim.accepts(b'{"prompt":"x","prompt":null}')
