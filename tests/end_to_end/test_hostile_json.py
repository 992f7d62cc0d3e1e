"""JSON that some parsers stumble over, on the generating routes of every dialect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.end_to_end.server import RunningServer, run_server

CHAT = '"messages": [{"role": "user", "content": %s}]'
# A path, its body around the text of a prompt and further fields, and a field with a number.
ROUTES = {
    "chat": ("/v1/chat/completions", "{" + CHAT + ", %s}", "temperature", "max_tokens"),
    "completions": ("/v1/completions", '{"prompt": %s, %s}', "temperature", "max_tokens"),
    "responses": ("/v1/responses", '{"input": %s, %s}', "temperature", "max_output_tokens"),
    "vllm": ("/generate", '{"prompt": %s, %s}', "temperature", "max_tokens"),
    "tgi": ("/generate", '{"inputs": %s, "parameters": {%s}}', "temperature", "max_new_tokens"),
    "triton": ("/v2/models/portico-demo/generate", '{"text_input": %s, %s}', "temperature", "max_tokens"),
    "mindie": ("/infer", '{"inputs": %s, "parameters": {%s}}', "temperature", "max_new_tokens"),
    "anthropic": ("/v1/messages", "{" + CHAT + ', "max_tokens": 5, %s}', "temperature", "top_k"),
    "tokenize": ("/tokenize", '{"prompt": %s, %s}', "add_special_tokens", "add_special_tokens"),
}
NUMBERS = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "9" * 5000,
    "1" + "0" * 400,
    "18446744073709551616",
    "0x10",
    "1_000",
    "01",
    "+1",
]
TEXTS = ['"\\ud800"', '"\\udc00\\ud800"', '"\\x41"', '"a\nb"', "'a'", '"\\u12"', "[" * 5000 + "]" * 5000]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with run_server("--engine", "scripted", "--tgi-profile", "improved") as server:
        yield server


def post(server: RunningServer, path: str, body: str | bytes) -> httpx.Response:
    return httpx.post(server.address + path, content=body, headers={"Content-Type": "application/json"}, timeout=30)


def assert_refused(answer: httpx.Response) -> None:
    assert answer.status_code in (400, 422), answer.text[:300]
    assert len(answer.text) < 3000
    for word in ("Traceback", "0x7", ".py"):
        assert word not in answer.text


@pytest.mark.parametrize("name", ROUTES)
def test_numbers_that_are_none(server: RunningServer, name: str) -> None:
    path, body, real, whole = ROUTES[name]
    for number in NUMBERS:
        for field in (real, whole):
            assert_refused(post(server, path, body % ('"Hi"', f'"{field}": {number}')))
    assert_refused(post(server, path, body % ('"Hi"', '"logit_bias": {"5": NaN}')))


@pytest.mark.parametrize("name", ROUTES)
def test_texts_that_are_none(server: RunningServer, name: str) -> None:
    path, body, *_ = ROUTES[name]
    for text in TEXTS:
        assert_refused(post(server, path, body % (text, '"seed": 1')))
    whole = (body % ('"Hi"', '"seed": 1')).encode()
    for broken in (whole[:-1], whole + b"x", whole.replace(b"Hi", b"\xff\xfe"), whole.replace(b"Hi", b"\xc0\xaf"), b""):
        assert_refused(post(server, path, broken))
    for codec in ("utf-16", "utf-8-sig"):
        assert_refused(post(server, path, whole.decode().encode(codec)))
    assert_refused(post(server, path, '{"metadata": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}"))


def test_requests_with_one_id_are_both_answered(server: RunningServer) -> None:
    bodies = [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/v2/models/portico-demo/generate", {"text_input": "Hi", "id": "same"}),
    ]
    headers = {"X-Request-Id": "same"}
    with ThreadPoolExecutor() as pool:
        answers = [
            pool.submit(httpx.post, server.address + path, json=body, headers=headers, timeout=30)
            for path, body in bodies * 5
        ]
        for each in answers:
            assert each.result().status_code == 200, each.result().text
            assert json.loads(each.result().text)
