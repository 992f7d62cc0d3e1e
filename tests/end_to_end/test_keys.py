"""A server that asks for keys, and the official clients of every dialect that have one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
import tritonclient.grpc
import tritonclient.http
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from tritonclient.utils import InferenceServerException

from tests.end_to_end.server import RunningServer, run_server, start_process
from tests.end_to_end.test_triton_clients import free_port

pytestmark = [
    pytest.mark.xdist_group("keys"),
    # Triton's clients leave connections to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

KEYS = """
alice = "sk-Canary-alice"
bob = "sk-Canary-bob"

[carol]
key = "sk-Canary-carol"
operator = true

[dashboard]
key = "sk-Canary-dashboard"
operator = true
paths = "/metrics"

[messages-only]
key = "sk-Canary-messages"
paths = ["/v1/messages*", "/v2/models/{model}/ready", "/inference.GRPCInferenceService/ModelReady"]

[three-requests]
key = "sk-Canary-three"
requests_per_minute = 3

[many-tokens]
key = "sk-Canary-tokens"
tokens_per_minute = 60

[one-at-a-time]
key = "sk-Canary-one"
max_parallel_requests = 1
"""
MODEL = "portico-demo"
ALICE, BOB, CAROL = "sk-Canary-alice", "sk-Canary-bob", "sk-Canary-carol"
PROMPT = "保持健康的方法" * 8
SECRET_PROMPT = "my Canary prompt"


@dataclass
class Site:
    """A server with all its ports."""

    server: RunningServer
    grpc_address: str
    management_address: str

    @property
    def host(self) -> tuple[str, int]:
        name, _, port = self.server.address.removeprefix("http://").partition(":")
        return name, int(port)

    def post(self, path: str, key: str, body: Any, **headers: str) -> httpx.Response:
        bearer = {"Authorization": f"Bearer {key}", **headers}
        return httpx.post(self.server.address + path, json=body, headers=bearer, timeout=60)

    def get(self, path: str, key: str) -> httpx.Response:
        return httpx.get(self.server.address + path, headers={"Authorization": f"Bearer {key}"}, timeout=60)

    def openai(self, key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.server.base_url, api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    file.write_text(KEYS, encoding="utf-8")
    rpc, management = free_port(), free_port()
    flags = ["--api-key-file", str(file), "--log-level", "debug", "--grpc-port", str(rpc)]
    flags += ["--management-port", str(management), "--served-model-name", MODEL, "*"]
    flags += ["--max-auth-failures-per-minute", "0"]
    with run_server(*flags, environment={"PORTICO_API_KEY": "sk-Canary-environment"}) as server:
        yield Site(server, f"127.0.0.1:{rpc}", f"http://127.0.0.1:{management}")


def complete(client: openai.OpenAI, prompt: str = "hi", **fields: Any) -> Any:
    return client.completions.create(model=MODEL, prompt=prompt, max_tokens=2, **fields)


def test_keys_for_some_paths(site: Site) -> None:
    """Other names of one function are other paths: what is not given is refused."""
    dashboard, messages = {"x-api-key": "sk-Canary-dashboard"}, {"x-api-key": "sk-Canary-messages"}
    document = httpx.get(f"{site.server.address}/openapi.json", headers={"x-api-key": CAROL}).json()
    allowed = []
    for path, operations in document["paths"].items():
        filled = path.replace("{seconds}", "1").replace("{model}", "demo")
        for method in operations:
            answer = httpx.request(method, site.server.address + filled, headers=messages, json={}, timeout=60)
            if answer.status_code != 403:
                allowed.append(path)
            else:
                assert f"`messages-only` is not for {path}" in answer.text or "operator" in answer.text
    assert sorted(set(allowed) - {"/", "/health", "/ping", "/v2/health/live", "/v2/health/ready"}) == [
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v2/models/{model}/ready",
    ]
    for path in ("//v1/messages", "/v1/messages/../models", "/v1/messages/nowhere", "/v1/messages%2f..%2fmodels"):
        assert httpx.get(site.server.address + path, headers=messages).status_code in (403, 404)
    with anthropic.Anthropic(base_url=site.server.address, api_key="sk-Canary-messages", max_retries=0) as client:
        asked = client.messages.create(model=MODEL, max_tokens=2, messages=[{"role": "user", "content": "hi"}])
        assert asked.usage.output_tokens == 2
    with tritonclient.grpc.InferenceServerClient(site.grpc_address) as triton:
        assert triton.is_model_ready(MODEL, headers=messages)
        for call in (triton.get_server_metadata, triton.get_model_repository_index):
            with pytest.raises(InferenceServerException, match="is not for /inference"):
                call(headers=messages)
        error = stream_once(triton, text_inputs(tritonclient.grpc), messages)
        assert "is not for /inference.GRPCInferenceService/ModelStreamInfer" in str(error)
    assert httpx.get(f"{site.server.address}/metrics", headers=dashboard).status_code == 200
    refused = site.post("/v1/completions", "sk-Canary-dashboard", {"model": MODEL, "prompt": "hi"})
    assert (refused.status_code, "`dashboard` is not for /v1/completions" in refused.text) == (403, True)
    stop = httpx.get(f"{site.management_address}/stopService", headers=dashboard)
    assert (stop.status_code, "is not for /stopService" in stop.text) == (403, True)


def test_openais_client(site: Site) -> None:
    assert complete(site.openai(ALICE)).usage.completion_tokens == 2
    assert complete(site.openai("sk-Canary-environment")).usage.completion_tokens == 2
    for key in ("wrong", ALICE.lower(), f"{ALICE}x"):
        with pytest.raises(openai.AuthenticationError) as refused:
            complete(site.openai(key))
        assert refused.value.code == "invalid_api_key"
        assert key not in str(refused.value.body)
    with pytest.raises(openai.AuthenticationError):
        site.openai("wrong").models.list()


def test_anthropics_client(site: Site) -> None:
    asked: Any = {"model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": "Hello!"}]}
    with anthropic.Anthropic(base_url=site.server.address, api_key=ALICE, max_retries=0) as client:
        assert client.messages.create(**asked).usage.output_tokens == 2
    with anthropic.Anthropic(base_url=site.server.address, auth_token=ALICE, max_retries=0) as client:
        assert client.messages.create(**asked).usage.output_tokens == 2
    with (
        anthropic.Anthropic(base_url=site.server.address, api_key="wrong", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError) as refused,
    ):
        client.messages.create(**asked)
    assert refused.value.type == "authentication_error"


def test_the_hubs_client(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    client = InferenceClient(site.server.address, token=ALICE, timeout=60)
    assert client.text_generation("hi", max_new_tokens=2)
    assert list(client.text_generation("hi", max_new_tokens=2, stream=True))
    wrong = InferenceClient(site.server.address, token="wrong", timeout=60)
    with pytest.raises(HfHubHTTPError, match="401"):
        wrong.text_generation("hi", max_new_tokens=2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tgis_old_client(site: Site) -> None:
    text_generation = pytest.importorskip("text_generation")
    client = text_generation.Client(site.server.address, headers={"Authorization": f"Bearer {ALICE}"}, timeout=60)
    assert client.generate("hi", max_new_tokens=2).details.generated_tokens == 2
    with pytest.raises(Exception, match="The API key is not valid"):
        text_generation.Client(site.server.address, headers={"Authorization": "Bearer wrong"}).generate("hi")


def text_inputs(module: Any) -> list[Any]:
    import numpy as np

    text = module.InferInput("text_input", [1], "BYTES")
    text.set_data_from_numpy(np.array([b"hi"], dtype=np.object_))
    return [text]


def test_tritons_http_client(site: Site) -> None:
    client = tritonclient.http.InferenceServerClient(site.server.address.removeprefix("http://"))
    headers = {"Authorization": f"Bearer {ALICE}"}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.infer(MODEL, text_inputs(tritonclient.http), headers=headers).as_numpy("text_output") is not None
    with pytest.raises(InferenceServerException, match="No API key was given") as refused:
        client.infer(MODEL, text_inputs(tritonclient.http))
    assert refused.value.status() == "401"
    client.close()


def test_tritons_grpc_client(site: Site) -> None:
    client = tritonclient.grpc.InferenceServerClient(site.grpc_address)
    headers = {"authorization": f"Bearer {ALICE}"}
    assert client.is_server_live()
    assert client.is_server_ready()
    inputs = text_inputs(tritonclient.grpc)
    assert client.infer(MODEL, inputs, headers=headers).as_numpy("text_output") is not None
    for given in (None, {"authorization": "Bearer wrong"}):
        for call in (client.infer, client.get_model_metadata):
            arguments = [MODEL] if call == client.get_model_metadata else [MODEL, inputs]
            with pytest.raises(InferenceServerException) as refused:
                call(*arguments, headers=given)
            assert refused.value.status() == "StatusCode.UNAUTHENTICATED"
    assert stream_once(client, inputs, headers) is None
    error = stream_once(client, inputs, None)
    assert error is not None
    assert "No API key" in str(error)
    client.close()


def stream_once(client: Any, inputs: list[Any], headers: dict[str, str] | None) -> Exception | None:
    """The first answer of a stream, or rather what is wrong with it."""
    import queue

    answers: queue.Queue[tuple[Any, Exception | None]] = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)), headers=headers)
    with contextlib.suppress(InferenceServerException):
        client.async_stream_infer(MODEL, inputs)
    _, error = answers.get(timeout=30)
    client.stop_stream()
    return error


def test_cached_prompts_are_shared_within_a_key_only(site: Site) -> None:
    """The pair: the same key finds what it evaluated, another one does not, whatever salt it names."""

    def count_cached(key: str, salt: str | None = None, prompt: str = PROMPT) -> int:
        extra = {} if salt is None else {"cache_salt": salt}
        answer = complete(site.openai(key), prompt, extra_body=extra)
        return int(answer.usage.prompt_tokens_details.cached_tokens or 0)

    assert count_cached(ALICE) == 0
    assert count_cached(ALICE) > 16
    assert count_cached(BOB) == 0
    assert count_cached(BOB) > 16
    # A salt divides what is a key's own, and opens nothing of another's.
    assert [count_cached(ALICE, "mine"), count_cached(ALICE, "mine") > 16, count_cached(BOB, "mine")] == [0, True, 0]
    assert count_cached(BOB, "alice") == 0
    # Replies are found again like prompts, by those who got them.
    body = {"model": MODEL, "prompt": [9] * 20, "max_tokens": 40, "ignore_eos": True, "return_token_ids": True}
    asked = site.post("/v1/completions", ALICE, body).json()
    turn = [9] * 20 + asked["choices"][0]["token_ids"]
    found = []
    for key in (BOB, ALICE):
        again = site.post("/v1/completions", key, {"model": MODEL, "prompt": turn, "max_tokens": 1}).json()
        found.append(again["usage"]["prompt_tokens_details"]["cached_tokens"])
    assert (found[0], found[1] > 32) == (0, True)
    assert count_cached(CAROL, "/") == 0


def test_requests_per_minute(site: Site) -> None:
    client = site.openai("sk-Canary-three")
    for _ in range(3):
        complete(client)
    with pytest.raises(openai.RateLimitError, match="may use 3 requests per minute") as refused:
        complete(client)
    assert refused.value.code == "rate_limit_exceeded"
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
    complete(site.openai(ALICE))
    native = site.post("/v2/models/demo/generate", "sk-Canary-three", {"text_input": "hi"})
    assert (native.status_code, "3 requests per minute" in native.json()["error"]) == (429, True)
    tokenized = site.post("/tokenize", "sk-Canary-three", {"prompt": "hi"})
    assert tokenized.status_code == 429


def test_tokens_per_minute(site: Site) -> None:
    def ask(num_prompt: int, num_output: int) -> httpx.Response:
        body = {"model": MODEL, "prompt": [5] * num_prompt, "max_tokens": num_output, "ignore_eos": True}
        return site.post("/v1/completions", "sk-Canary-tokens", body)

    too_large = ask(61, 1)
    assert (too_large.status_code, too_large.headers["retry-after"]) == (429, "60")
    assert "60 tokens per minute" in too_large.json()["error"]["message"]
    assert ask(20, 10).status_code == 200
    assert ask(31, 1).status_code == 429
    assert ask(30, 1).status_code == 200
    assert ask(1, 1).status_code == 429


def test_requests_at_once(site: Site) -> None:
    endless = {"model": MODEL, "prompt": "hi", "max_tokens": 1500, "ignore_eos": True, "stream": True}
    headers = {"x-api-key": "sk-Canary-one"}
    with httpx.stream("POST", f"{site.server.base_url}/completions", json=endless, headers=headers, timeout=60) as one:
        lines = one.iter_lines()
        next(lines)
        refused = site.post("/v1/messages", "sk-Canary-one", {
            "model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": "hi"}]
        })  # fmt: skip
        assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
        assert refused.headers["retry-after"] == "1"
        assert site.post("/generate", ALICE, {"inputs": "hi", "parameters": {"max_new_tokens": 1}}).status_code == 200
    for _ in range(100):
        again = site.post("/generate", "sk-Canary-one", {"inputs": "hi", "parameters": {"max_new_tokens": 1}})
        if again.status_code == 200:
            break
    assert again.status_code == 200


def test_a_request_is_stopped_by_its_owner_only(site: Site) -> None:
    body = {"id": "mine", "text_input": "hi", "parameters": {"max_tokens": 1500, "ignore_eos": True}}
    path = "/v2/models/demo"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(site.post, f"{path}/generate", ALICE, body)
        for _ in range(1000):
            assert site.post(f"{path}/stopInfer", BOB, {"id": "mine"}).status_code == 404
            if site.post(f"{path}/stopInfer", ALICE, {"id": "mine"}).status_code == 200:
                break
        else:
            raise AssertionError("the request was not found by its owner")
        assert running.result().status_code == 200


def test_only_operators_see_what_all_keys_have_asked_together(site: Site) -> None:
    """Counts and times of everybody's requests tell one tenant what another does."""
    paths = ("/v2/models/stats", "/v2/models/demo/stats", "/v2/models/demo/versions/1/stats", "/metrics-json")
    for path in paths:
        for address in (site.server.address, site.management_address):
            statuses = [
                httpx.get(f"{address}{path}", headers=headers).status_code
                for headers in ({}, {"x-api-key": ALICE}, {"x-api-key": CAROL})
            ]
            assert statuses == [401, 403, 200], path
    with tritonclient.grpc.InferenceServerClient(site.grpc_address) as client:
        with pytest.raises(InferenceServerException, match="`alice` is not an operator's") as refused:
            client.get_inference_statistics(headers={"x-api-key": ALICE})
        assert refused.value.status() == "StatusCode.PERMISSION_DENIED"
        assert client.get_inference_statistics(headers={"x-api-key": CAROL}).model_stats
        assert client.get_server_metadata(headers={"x-api-key": ALICE}).name
    log = "".join(site.server.output)
    for route in ("/v2/models/stats", "/metrics-json", "/inference.GRPCInferenceService/ModelStatistics"):
        assert re.search(rf"request refused .* route={route} status=403 key=alice error=Forbidden", log), route


def test_operators_see_the_figures_of_every_key(site: Site) -> None:
    complete(site.openai(ALICE))
    site.get("/v1/nowhere", BOB)
    for address in (site.server.address, site.management_address):
        assert httpx.get(f"{address}/metrics").status_code == 401
        assert httpx.get(f"{address}/metrics", headers={"x-api-key": ALICE}).status_code == 403
    page = site.get("/metrics", CAROL).text
    assert re.search(r'^portico_key_requests_total\{key="alice",outcome="answered"} [1-9]', page, re.MULTILINE)
    assert re.search(r'^portico_key_prompt_tokens_total\{key="alice"} [1-9]', page, re.MULTILINE)
    assert re.search(r'^portico_key_generation_tokens_total\{key="alice"} [1-9]', page, re.MULTILINE)
    assert re.search(r'^portico_key_refusals_total\{key="bob",reason="UnknownRoute"} [1-9]', page, re.MULTILINE)
    assert re.search(r'^portico_requests_refused_total\{.*reason="Unauthorized"} [1-9]', page, re.MULTILINE)
    stop = httpx.get(f"{site.management_address}/stopService", headers={"x-api-key": ALICE})
    assert (stop.status_code, httpx.get(f"{site.management_address}/stopService").status_code) == (403, 401)
    assert httpx.get(f"{site.management_address}/v2/health/ready").status_code == 200


TARGETS = (
    "/v1/chat/completions", "//v1/chat/completions", "/v1/./chat/completions", "/v1/%2e%2e/v1/chat/completions",
    "/V1/chat/completions", "/v1/chat/completions/", "/v1/chat/completions;x", "/v1/chat/completions?x=/health",
    "/health/../v1/chat/completions", "/health/..%2fv1/chat/completions", "/v2/health/live/../../v1/models",
    "/v1%2fmodels", "/%76%31/models", "/v1/models#/health", "http://127.0.0.1/v1/models", "http://x/health/../v1/models",
    "/v2/models/../health/live", "/v2/models/health/live/config", "*", "/generate", "/metrics", "/metrics/",
)  # fmt: skip
HOSTS = (
    "x", "x/health?", "x/v2/health/live#", "x@health", "127.0.0.1/health", "x?/health", "x#/health", "/health", "",
    "x\\health", "[::1]/health?",
)  # fmt: skip
FORWARDED = ("X-Original-URL: /health", "X-Rewrite-URL: /health", "X-Forwarded-Prefix: /health", "X-Forwarded-For: ::1")


def exchange(address: tuple[str, int], head: str) -> int:
    """The status of a request that is written as it is; 0 where the connection is closed without one."""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(head.encode("latin-1"))
        answer = connection.recv(65536)
    match = re.match(rb"HTTP/1\.1 (\d{3})", answer)
    return int(match[1]) if match else 0


def test_no_way_around_by_path_or_host(site: Site) -> None:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1})
    rest = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    for method in ("POST", "GET"):
        statuses = {
            (target, extra): exchange(
                site.host, f"{method} {target} HTTP/1.1\r\n{extra}\r\n{rest}Connection: close\r\n\r\n{body}"
            )
            for target in TARGETS
            for extra in (*(f"Host: {host}" for host in HOSTS), *(f"Host: x\r\n{each}" for each in FORWARDED))
        }
        assert set(statuses.values()) <= {400, 401, 404, 0}, statuses
    key = f"Host: x/health?\r\nAuthorization: Bearer {ALICE}\r\n"
    head = f"POST /v1/chat/completions HTTP/1.1\r\n{key}{rest}Connection: close\r\n\r\n{body}"
    assert exchange(site.host, head) == 200
    twice = head.replace("Connection", f"Authorization: Bearer {ALICE}\r\nConnection")
    assert exchange(site.host, twice) == 401


def test_pages_of_other_origins_get_nothing(site: Site) -> None:
    asks = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for key in ({}, {"x-api-key": ALICE}):
        preflight = httpx.options(f"{site.server.base_url}/chat/completions", headers={**asks, **key})
        assert preflight.status_code == (405 if key else 401)
        answer = httpx.get(f"{site.server.base_url}/models", headers={**asks, **key})
        assert answer.status_code == (200 if key else 401)
        for each in (preflight, answer):
            assert not [name for name in each.headers if name.startswith("access-control")]


def test_neither_keys_nor_prompts_are_written_anywhere(site: Site) -> None:
    """The words stand in requests that are answered, refused and failed, with every log line on."""
    complete(site.openai(ALICE), SECRET_PROMPT)
    bad = {"model": MODEL, "prompt": SECRET_PROMPT, "max_tokens": -1}
    answers = [site.post("/v1/completions", ALICE, bad), site.post("/v1/completions", "Canary-wrong", bad)]
    answers += [site.post("/generate", ALICE, {"inputs": SECRET_PROMPT, "parameters": {"top_p": 7}})]
    answers += [site.post(f"/v1/completions?{ALICE}", ALICE, {"prompt": SECRET_PROMPT, "nonsense": 1})]
    assert [answer.status_code for answer in answers] == [400, 401, 422, 400]
    for answer in answers:
        assert "Canary" not in answer.text + str(answer.headers)
    assert "Canary" not in site.get("/metrics", CAROL).text
    for path in ("/v1/models", "/info", "/v1/config", "/metrics-json", "/v2/models/demo/config", "/load", "/version"):
        assert "Canary" not in site.get(path, ALICE).text
    log = "".join(site.server.output)
    assert "key=alice" in log
    assert "keys      environment, alice, bob, carol" in log
    assert "Canary" not in log
    processes = [site.server.process.pid, *children(site.server.process.pid)]
    assert len(processes) > 1
    for pid in processes:
        assert b"Canary" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    for pid in processes[1:]:
        assert b"Canary" not in Path(f"/proc/{pid}/environ").read_bytes()


def children(pid: int) -> list[int]:
    found = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [inner for each in found for inner in children(each)]


def test_an_open_address_needs_keys_or_the_operators_word() -> None:
    scripted = ("serve", "--engine", "scripted", "--port", "0", "--grpc-port", "0")
    for flags in (("--host", "0.0.0.0"), ("--management-port", "0", "--management-host", "0.0.0.0")):
        process = start_process(*scripted, *flags)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "0.0.0.0 can be reached from other machines" in errors
        assert "--allow-anonymous" in errors


def test_pages_whose_name_points_to_this_machine_are_refused() -> None:
    with run_server("--engine", "scripted", "--allowed-host", "models.example", "models.test") as server:
        for host in ("evil.example", f"evil.example:{server.address.rpartition(':')[2]}"):
            answer = httpx.get(f"{server.address}/v1/models", headers={"Host": host})
            assert (answer.status_code, "--allowed-host" in answer.json()["error"]["message"]) == (403, True)
            assert httpx.get(f"{server.address}/metrics", headers={"Host": host}).status_code == 403
        for host in ("models.example", "models.test:80", "localhost"):
            assert httpx.get(f"{server.address}/v1/models", headers={"Host": host}).status_code == 200


def test_a_key_that_is_empty_stops_the_start() -> None:
    process = start_process("serve", "--engine", "scripted", environment={"PORTICO_API_KEY": ""})
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "portico: error: PORTICO_API_KEY is empty or not a text\n")
    assert "PORTICO_API_KEY" not in os.environ


def test_an_address_that_sends_many_wrong_keys_is_told_to_wait(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(KEYS, encoding="utf-8")
    rpc = free_port()
    flags = ["--api-key-file", str(file), "--grpc-port", str(rpc), "--max-auth-failures-per-minute", "5"]
    with run_server("--engine", "scripted", *flags) as server:
        site = Site(server, f"127.0.0.1:{rpc}", "")
        models = f"{server.base_url}/models"
        wrong = [httpx.get(models, headers={"x-api-key": f"wrong-{number}"}) for number in range(7)]
        assert [each.status_code for each in wrong] == [401] * 5 + [429] * 2
        assert wrong[-1].json()["error"]["code"] == "rate_limit_exceeded"
        assert "it may send 5 of them per minute" in wrong[-1].text
        # A header that anybody can write makes no other address.
        forwarded = {"X-Forwarded-For": "192.0.2.7", "Forwarded": "for=192.0.2.8", "X-Real-IP": "192.0.2.9"}
        others = [
            httpx.post(f"{server.address}{path}", json={}, headers=forwarded)
            for path in ("/v1/messages", "/generate", "/v2/models/m/infer", "/nowhere", "/v1/chat/completions")
        ]
        others.append(httpx.get(f"{server.address}/metrics", headers=forwarded))
        for answer in [*wrong[5:], *others]:
            assert (answer.status_code, 1 <= int(answer.headers["Retry-After"]) <= 12) == (429, True), answer.text
        with tritonclient.grpc.InferenceServerClient(site.grpc_address) as client:
            with pytest.raises(InferenceServerException) as refused:
                client.get_server_metadata(headers={"authorization": "Bearer wrong"})
            assert refused.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
            assert client.get_server_metadata(headers={"authorization": f"Bearer {ALICE}"}).name
        with pytest.raises(anthropic.RateLimitError):
            anthropic.Anthropic(base_url=server.address, api_key="wrong", max_retries=0).models.list()
        # The right key is let in from there.
        assert site.get("/v1/models", ALICE).status_code == 200
        assert httpx.get(f"{server.address}/health").status_code == 200
        page = site.get("/metrics", CAROL).text
        lines = [each for each in page.splitlines() if each.startswith("portico_requests_refused_total{")]
        refusals = [float(each.split()[-1]) for each in lines if 'reason="TooManyWrongKeys"' in each]
        # One of gRPC and Anthropic's client each besides.
        assert sum(refusals) == 2 + len(others) + 2
