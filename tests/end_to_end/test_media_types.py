"""Bodies that do not say that they are JSON: what each wire's own server makes of them, and what web pages can send."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.end_to_end.server import RunningServer, run_server

pytestmark = pytest.mark.xdist_group("demo")

MESSAGES = [{"role": "user", "content": "hi"}]
# What a wire answers to a form: its own servers refuse it, or read its body all the same.
ROUTES: list[tuple[str, dict[str, Any], int]] = [
    ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 1}, 415),
    ("/v1/completions", {"prompt": "hi", "max_tokens": 1}, 415),
    ("/v1/responses", {"input": "hi", "max_output_tokens": 1}, 415),
    ("/v1/responses/input_tokens", {"input": "hi"}, 415),
    ("/v1/messages", {"messages": MESSAGES, "max_tokens": 1, "model": "portico-demo"}, 400),
    ("/v1/messages/count_tokens", {"messages": MESSAGES, "model": "portico-demo"}, 400),
    ("/invocations", {"prompt": "hi", "max_tokens": 1}, 415),
    ("/invocations", {"inputs": "hi", "parameters": {"max_new_tokens": 1}}, 415),
    ("/generate", {"inputs": "hi", "parameters": {"max_new_tokens": 1}}, 415),
    ("/generate", {"prompt": "hi", "max_tokens": 1}, 200),
    ("/generate_stream", {"inputs": "hi", "parameters": {"max_new_tokens": 1}}, 415),
    ("/tokenize", {"prompt": "hi"}, 400),
    ("/detokenize", {"tokens": [5]}, 400),
    ("/v2/models/portico-demo/generate", {"text_input": "hi", "parameters": {"max_tokens": 1}}, 200),
    ("/infer", {"inputs": "hi", "parameters": {"max_new_tokens": 1}}, 200),
]
FORMS = ["application/x-www-form-urlencoded", "text/plain", ""]


@pytest.mark.parametrize(("path", "body", "status"), ROUTES)
def test_forms(demo_server: RunningServer, path: str, body: dict[str, Any], status: int) -> None:
    content = json.dumps(body)
    for form in FORMS:
        headers = {"Content-Type": form} if form else {}
        with httpx.Client(base_url=demo_server.address, timeout=60) as site:
            assert site.post(path, content=content, headers=headers).status_code == status
            from_page = site.post(path, content=content, headers={**headers, "Origin": "http://elsewhere"})
            assert from_page.status_code in (400, 415)
            assert "application/json" in from_page.text
            assert "access-control-allow-origin" not in from_page.headers
    assert httpx.post(demo_server.address + path, json=body, timeout=60).status_code == 200


def test_mindie_reads_forms_on_tgi_routes() -> None:
    body = json.dumps({"inputs": "hi", "parameters": {"max_new_tokens": 1}})
    with run_server("--engine", "scripted", "--profile", "mindie") as server:
        assert httpx.post(f"{server.address}/generate", content=body, timeout=30).status_code == 200
        from_page = httpx.post(f"{server.address}/generate", content=body, headers={"Origin": "null"}, timeout=30)
        assert from_page.status_code == 415
