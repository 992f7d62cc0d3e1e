"""A server that is started from a file of MindIE Service, as its operators and clients use it."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from portico.checkpoint import DEMO_PATH
from portico.text.tokenizer import Tokenizer
from tests.end_to_end.server import RunningServer, run_server

MODEL = "llama_65b"
STOPPED = {"error": "The service has been stopped.", "error_type": "Service Unavailable"}


def write_config(folder: Path, **server: Any) -> Path:
    """A file with ports that the system chooses; management is on another address."""
    addresses = {"ipAddress": "127.0.0.1", "managementIpAddress": "127.0.0.2"}
    ports = {"port": 0, "managementPort": 0, "metricsPort": 0}
    content = {
        "ServerConfig": {**addresses, **ports, "httpsEnabled": False, "openAiSupport": "openai", **server},
        "BackendConfig": {
            "ModelDeployConfig": {
                "maxSeqLen": 2048,
                "ModelConfig": [{"modelName": MODEL, "modelWeightPath": str(DEMO_PATH), "worldSize": 1}],
            },
            "ScheduleConfig": {"maxBatchSize": 8, "maxPrefillTokens": 2048, "cacheBlockSize": 16},
        },
    }
    path = folder / "conf" / "config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def scripted(*arguments: str) -> tuple[str, ...]:
    return ("--engine", "scripted", *arguments)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    path = write_config(tmp_path)
    with run_server("--mindie-config", str(path), *scripted("--token-delay", "0.01")) as running:
        yield running


def management_address(server: RunningServer) -> str:
    match = re.search(r"managed +(\S+)", "".join(server.output))
    assert match is not None
    return f"http://{match[1]}"


def test_the_report_names_what_is_not_followed(server: RunningServer) -> None:
    output = "".join(server.output)
    assert 'ServerConfig.openAiSupport = "openai" has no meaning here' in output
    assert "worldSize" not in output


def test_inference_in_mindies_shapes(server: RunningServer) -> None:
    with httpx.Client(base_url=server.address, timeout=30) as client:
        native = client.post("/infer", json={"inputs": "hi", "parameters": {"max_new_tokens": 3, "details": True}})
        assert native.json()["details"]["finish_reason"] == "length"
        tgi = client.post("/generate_stream", json={"inputs": "hi", "parameters": {"max_new_tokens": 2, "top_p": 1.0}})
        events = [json.loads(each.removeprefix("data: ")) for each in tgi.text.split("\n\n")[:-1]]
        assert [len(event["token"]["id"]) for event in events] == [1, 1]
        vllm = client.post("/generate", json={"prompt": "hi", "max_tokens": 2, "stream": True})
        assert vllm.content.count(b"\0") == 2
        triton = client.post(f"/v2/models/{MODEL}/generate_stream", json={"text_input": "hi"})
        assert triton.text.startswith("data:{")
        assert client.get("/v1/models").json()["data"][0]["id"] == MODEL
        assert client.post("/v1/tokenizer", json={"inputs": "你好"}).json() == {
            "token_number": 2,
            "tokens": ["你", "好"],
        }


def _events(response: httpx.Response) -> list[dict[str, Any]]:
    """Reads a stream as AISBench does: blocks between blank lines, without `data:`, each of them JSON."""
    return [json.loads(block.removeprefix("data:").strip()) for block in response.text.split("\n\n") if block.strip()]


def test_the_requests_of_aisbench(server: RunningServer) -> None:
    sampling = {"temperature": 0.01, "ignore_eos": True, "max_new_tokens": 4, "seed": 1}
    with httpx.Client(base_url=server.address, timeout=30) as client:
        model = client.get("/v1/models").json()["data"][0]["id"]
        native = _events(client.post("/infer", json={"inputs": "hi", "stream": True, "parameters": sampling}))
        tgi = _events(client.post("/generate_stream", json={"inputs": "hi", "parameters": sampling}))
        body = {"id": "0f9c6a1e", "text_input": "hi", "parameters": sampling}
        triton = _events(client.post(f"/v2/models/{model}/generate_stream", json=body))
    text = "".join(event["text_output"] for event in triton)
    assert text
    assert native[-1]["generated_text"] == tgi[-1]["generated_text"] == text
    assert {event["id"] for event in triton} == {"0f9c6a1e"}


def test_the_whole_answers_that_aisbench_reads(server: RunningServer) -> None:
    """What its configurations hold, and the field of the adapter that it names where it has several."""
    sampling = {"temperature": 0.01, "ignore_eos": False, "max_new_tokens": 4, "seed": 1}
    with httpx.Client(base_url=server.address, timeout=30) as client:
        tgi = client.post("/generate", json={"inputs": "hi", "parameters": sampling}).json()["generated_text"]
        body = {"id": "0f9c6a1e-2c1b", "text_input": "hi", "parameters": sampling}
        triton = client.post(f"/v2/models/{MODEL}/generate", json=body).json()
        assert (triton["text_output"], triton["id"]) == (tgi, "0f9c6a1e-2c1b")
        for path, more in (("/generate", {}), ("/infer", {"stream": True})):
            for adapter, status in (("None", 200), ("mine", 422)):
                parameters = {**sampling, "adapter_id": adapter}
                answer = client.post(path, json={"inputs": "hi", "parameters": parameters, **more})
                assert answer.status_code == status, answer.text


def test_metadata_has_mindies_shapes(server: RunningServer) -> None:
    with httpx.Client(base_url=server.address, timeout=30) as client:
        assert client.get("/v2").json()["name"] == "MindIE Server"
        assert client.get(f"/v2/models/{MODEL}").json()["inputs"] == [
            {"name": "input0", "shape": [-1], "datatype": "UINT32"}
        ]
        config = client.get(f"/v2/models/{MODEL}/config").json()
        assert (config["max_seq_len"], config["model_weight_path"]) == (2048, "checkpoint")
        assert client.get("/v2/models/other").json()["error_type"] == "NotFoundError"
        for path in ("/health", "/v2/health/live", "/v2/health/ready", f"/v2/models/{MODEL}/ready"):
            assert (client.get(path).status_code, client.get(path).content) == (200, b""), path


def test_the_machinery_around_it_is_told_of_one_instance(server: RunningServer) -> None:
    with httpx.Client(base_url=management_address(server), timeout=30) as client:
        for path in ("/v1/status", "/v2/status"):
            told = client.get(path).json()
            assert told["service"] == {"roleStatus": "RoleReady", "currentRole": "none"}
            assert told["resource"]["availSlotsNum"] == 8
        assert client.get("/v1/engine-server/running-status").json() == {"status": 1, "errors": []}
        orders = ["/v1/role/prefill", "/v1/role/flex", "/v2/role/decode", "/v1/engine-server/fault-handling-command"]
        for path in (*orders, "/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
            refused = client.post(path, json={"lora_name": "mine"})
            assert (refused.status_code, refused.json()["error_type"]) == (501, "Not Implemented"), path
        assert client.get("/dresult").status_code == 501


def test_what_mindie_passes_over_is_honoured(tmp_path: Path) -> None:
    """Stop strings on every route and across an emoji, choices without a temperature, `logprobs`, and true reasons."""
    tokenizer = Tokenizer.load(DEMO_PATH)
    script = map(str, tokenizer.encode("Hi 😀 you, and more", add_special_tokens=False))
    flags = scripted("--vocab-size", str(tokenizer.vocab_size), "--script", *script)
    path = str(write_config(tmp_path))
    with run_server("--mindie-config", path, *flags) as own, httpx.Client(base_url=own.address, timeout=30) as client:
        asked = {"max_new_tokens": 30, "stop": [" you"], "details": True}
        native = client.post("/infer", json={"inputs": "hi", "parameters": asked}).json()
        tgi = client.post("/generate", json={"inputs": "hi", "parameters": asked}).json()
        triton = client.post(f"/v2/models/{MODEL}/generate", json={"text_input": "hi", "parameters": asked}).json()
        assert (native["generated_text"], triton["text_output"]) == ("Hi 😀", "Hi 😀")
        # On TGI's route it stays in the text, as in TGI.
        assert tgi["generated_text"] == "Hi 😀 you"
        for answer in (native, tgi, triton):
            assert answer["details"]["finish_reason"] == "stop_sequence"
        vllm = {"prompt": "hi", "max_tokens": 30, "stop": " you", "n": 2}
        assert client.post("/generate", json=vllm).json()["text"] == ["hi Hi 😀"] * 2
        chat = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "n": 2, "max_tokens": 30}
        chat |= {"stop": [" you"], "logprobs": True, "top_logprobs": 2}
        choices = client.post("/v1/chat/completions", json=chat).json()["choices"]
        assert [choice["message"]["content"] for choice in choices] == ["Hi 😀"] * 2
        assert all(len(each["top_logprobs"]) == 2 for each in choices[0]["logprobs"]["content"])
        wide = {"inputs": "hi", "parameters": {"typical_p": 0.5, "watermark": True, "max_new_tokens": 2}}
        assert client.post("/infer", json=wide).status_code == 200
        names = client.get("/metrics").text
        for name in ("vllm:prompt_tokens_total{", "tgi_request_count ", "nv_inference_request_success{"):
            assert f"\n{name}" in names, name
        assert "\nrequest_received_total{" in names


def test_the_id_of_a_header(server: RunningServer) -> None:
    body = {"text_input": "hi", "parameters": {"max_new_tokens": 1}}
    url = f"{server.address}/v2/models/{MODEL}/generate"
    assert httpx.post(url, json=body, headers={"req-id": "mine-1"}).json()["id"] == "mine-1"
    assert httpx.post(url, json={**body, "id": "own"}, headers={"req-id": "mine-1"}).json()["id"] == "own"
    assert httpx.post(url, json=body, headers={"req-id": "no id"}).status_code == 422


def test_the_management_address(server: RunningServer) -> None:
    with httpx.Client(base_url=management_address(server), timeout=30) as client:
        assert client.get("/v2/health/ready").status_code == 200
        assert client.get("/health/timed-5").json() == {"status": "healthy"}
        assert client.get("/v1/config").json()["modelName"] == MODEL
        assert client.get(f"/v2/models/{MODEL}/getSlotCount").json()["total_slots"] == 8
        assert client.get("/info").json()["models"][0]["model_id"] == MODEL
        names = [each["metric"][0]["__name__"] for each in client.get("/metrics-json").json()["result"]]
        assert names[:2] == ["TTFT", "TBT"]
        assert "\nrequest_received_total{" in client.get("/metrics").text


def test_a_request_is_stopped_by_its_id(server: RunningServer) -> None:
    path = f"{server.address}/v2/models/{MODEL}"
    body = {"id": "mine", "text_input": "hi", "parameters": {"max_new_tokens": 1000, "details": True}}
    assert httpx.post(f"{path}/stopInfer", json={"id": "mine"}).status_code == 404
    with httpx.stream("POST", f"{path}/generate_stream", json=body, timeout=30) as response:
        lines = response.iter_lines()
        next(lines)
        assert httpx.post(f"{path}/stopInfer", json={"id": "mine"}).json() == {"id": "mine"}
        rest = [json.loads(line.removeprefix("data:")) for line in lines if line]
        assert len(rest) < 1000
        # MindIE's word for what neither the model nor a limit ended.
        assert rest[-1]["details"]["finish_reason"] == "stop_sequence"
    assert httpx.get(f"{path}/getSlotCount").json()["free_slots"] == 8


def test_time_runs_out(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    with run_server("--mindie-config", str(path), *scripted("--prefill-delay", "30")) as server:
        answer = httpx.post(f"{server.address}/infer", json={"inputs": "hi", "parameters": {"timeout": 1}}, timeout=20)
        assert (answer.status_code, answer.json()["error_type"]) == (500, "Incomplete Generation")
        assert httpx.get(f"{server.address}/health/timed-1", timeout=20).status_code == 500


def test_the_service_stops_when_it_is_told_and_what_runs_is_over(server: RunningServer) -> None:
    assert httpx.get(f"{server.address}/stopService").status_code == 404
    management = management_address(server)
    with ThreadPoolExecutor(2) as pool:
        body = {"inputs": "hi", "parameters": {"max_new_tokens": 600, "ignore_eos": True}}
        running = pool.submit(httpx.post, f"{server.address}/infer", json=body, timeout=30)
        time.sleep(0.3)
        stopping = pool.submit(httpx.get, f"{management}/stopService", timeout=30)
        time.sleep(0.2)
        refused = httpx.post(f"{server.address}/infer", json=body)
        assert (refused.status_code, refused.json()["error_type"]) == (503, "Service Unavailable")
        for path in ("/v2/health/live", "/v2/health/ready", "/health", f"/v2/models/{MODEL}/ready"):
            probe = httpx.get(f"{management}{path}")
            assert (probe.status_code, probe.json()) == (503, STOPPED)
        assert httpx.get(f"{management}/stopService").status_code == 500
        assert running.result().status_code == 200
        assert (stopping.result().status_code, stopping.result().content) == (200, b"")
    assert server.process.wait(20) == 0


def test_merged_addresses(tmp_path: Path) -> None:
    path = write_config(tmp_path, managementIpAddress="127.0.0.1")
    with run_server("--mindie-config", str(path), *scripted()) as server:
        assert httpx.get(f"{server.address}/stopService?mode=Force").status_code == 200
        assert server.process.wait(20) == 0


def test_clients_must_show_a_certificate(tmp_path: Path) -> None:
    _make_certificate(tmp_path)
    names = {"tlsCaPath": "", "tlsCaFile": ["server.pem"], "tlsCert": "server.pem", "tlsPk": "server.key"}
    path = write_config(tmp_path, httpsEnabled=True, **names)
    with run_server("--mindie-config", str(path), *scripted()) as server:
        assert server.address.startswith("https://")
        context = ssl.create_default_context(cafile=str(tmp_path / "server.pem"))
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.address}/health", verify=context)
        context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
        assert httpx.get(f"{server.address}/health", verify=context).status_code == 200


def _make_certificate(folder: Path) -> None:
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    files = ["-keyout", str(folder / "server.key"), "-out", str(folder / "server.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
