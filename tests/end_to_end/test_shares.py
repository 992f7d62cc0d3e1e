"""A key that has taken all places for long, beside one that asks for little."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.end_to_end.server import RunningServer, run_server, show_figure, wait_until

NUM_PLACES, LENGTH = 4, 1000
KEYS = 'busy = "sk-busy"\nother = "sk-other"\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    file.write_text(KEYS, encoding="utf-8")
    flags = ("--api-key-file", str(file), "--max-num-seqs", str(NUM_PLACES), "--api-key", "sk-operator")
    with run_server(*flags) as server:
        yield server


class Client:
    """Asks with one key."""

    def __init__(self, server: RunningServer, key: str) -> None:
        self._url = f"{server.address}/v1/completions"
        self._headers = {"Authorization": f"Bearer {key}"}

    def ask(self, seed: int, max_tokens: int) -> tuple[str, float]:
        """The text of a stream, and the seconds to its first token."""
        body: dict[str, Any] = {"prompt": "Once upon a time", "max_tokens": max_tokens, "ignore_eos": True}
        body |= {"temperature": 1.0, "seed": seed, "stream": True, "model": "portico-demo"}
        started_at = time.perf_counter()
        first, parts = 0.0, []
        with httpx.stream("POST", self._url, json=body, headers=self._headers, timeout=120) as answer:
            assert answer.status_code == 200, answer.read()
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    first = first or time.perf_counter() - started_at
                    parts.append(json.loads(line.removeprefix("data: "))["choices"][0]["text"])
        return "".join(parts), first


def num_running(server: RunningServer) -> int:
    page = httpx.get(f"{server.address}/metrics", headers={"Authorization": "Bearer sk-operator"}, timeout=30).text
    lines = [each for each in page.splitlines() if each.startswith("portico_num_requests_running{")]
    assert lines
    return sum(int(float(each.split()[-1])) for each in lines)


def test_a_key_with_all_places_gives_one_to_another_and_loses_no_token(server: RunningServer) -> None:
    busy, other = Client(server, "sk-busy"), Client(server, "sk-other")
    expected = [busy.ask(seed, LENGTH)[0] for seed in range(NUM_PLACES + 1)]
    alone_text, alone = other.ask(99, 5)
    ended = threading.Event()

    def flood(seed: int) -> str:
        text, _ = busy.ask(seed, LENGTH)
        ended.set()
        return text

    with ThreadPoolExecutor(NUM_PLACES + 1) as pool:
        floods = [pool.submit(flood, seed) for seed in range(NUM_PLACES + 1)]
        wait_until(lambda: num_running(server) == NUM_PLACES)
        times = []
        for _ in range(3):
            text, first = other.ask(99, 5)
            assert text == alone_text
            times.append(first)
        assert not ended.is_set(), "nothing was waited for"
        assert [each.result() for each in floods] == expected
    show_figure("first token alone", alone, "s")
    show_figure("first token beside a key with all places", max(times), "s")
