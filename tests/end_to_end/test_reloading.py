"""Keys that are given and withdrawn, and certificates that are renewed, while the server runs."""

from __future__ import annotations

import queue
import shutil
import ssl
import subprocess
from pathlib import Path

import grpc
import httpx
import pytest
import tritonclient.grpc
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from tests.end_to_end.server import RunningServer, run_server, wait_until
from tests.end_to_end.test_keys import stream_once, text_inputs
from tests.end_to_end.test_triton_clients import free_port


def status(server: RunningServer, key: str) -> int:
    return httpx.get(f"{server.base_url}/models", headers={"x-api-key": key}).status_code


def cached(server: RunningServer, key: str) -> int:
    body = {"model": "portico-demo", "prompt": list(range(100, 180)), "max_tokens": 1}
    answer = httpx.post(f"{server.base_url}/completions", json=body, headers={"x-api-key": key}, timeout=60)
    return int(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"] or 0)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_keys_are_given_and_withdrawn(tmp_path: Path) -> None:
    file, rpc = tmp_path / "keys.toml", free_port()
    file.write_text('alice = "sk-alice"\nbob = "sk-bob"\n')
    flags = ("--api-key-file", str(file), "--grpc-port", str(rpc))
    with run_server(*flags, environment={"PORTICO_API_KEY": "sk-operator"}) as server:
        assert [status(server, key) for key in ("sk-alice", "sk-bob", "sk-carol")] == [200, 200, 401]
        assert cached(server, "sk-alice") == 0
        triton = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{rpc}")
        headers = {"authorization": "Bearer sk-bob"}
        assert stream_once(triton, text_inputs(tritonclient.grpc), headers) is None
        file.write_text('alice = ["sk-alice", "sk-new"]\ncarol = "sk-carol"\n')
        wait_until(lambda: status(server, "sk-carol") == 200)
        assert [status(server, key) for key in ("sk-alice", "sk-new", "sk-bob")] == [200, 200, 401]
        with pytest.raises(InferenceServerException, match="not valid"):
            triton.get_server_metadata(headers=headers)
        triton.close()
        # It is the same alice: her new key finds what her old one has asked, and nobody else does.
        assert cached(server, "sk-new") > 16
        assert cached(server, "sk-carol") == 0
        file.write_text('alice = "sk-alice"\nsk-secret')
        wait_until(lambda: "cannot be used, those before hold on" in "".join(server.output))
        file.unlink()
        wait_until(lambda: "No such file" in "".join(server.output))
        assert [status(server, key) for key in ("sk-carol", "sk-operator")] == [200, 200]
        assert "API keys were read again" in "".join(server.output)
        assert "sk-" not in "".join(server.output)


def test_a_withdrawn_key_ends_a_call_that_goes_on(tmp_path: Path) -> None:
    file, rpc = tmp_path / "keys.toml", free_port()
    file.write_text('alice = "sk-alice"\nbob = "sk-bob"\n')
    with run_server("--engine", "scripted", "--api-key-file", str(file), "--grpc-port", str(rpc)) as server:
        method = "/inference.GRPCInferenceService/ModelStreamInfer"
        request = service_pb2.ModelInferRequest(model_name="portico-demo")
        tensor = request.inputs.add(name="text_input", datatype="BYTES", shape=[1])
        tensor.contents.bytes_contents.append(b"hi")
        messages: queue.Queue[bytes | None] = queue.Queue()
        with grpc.insecure_channel(f"127.0.0.1:{rpc}") as channel:
            talk = channel.stream_stream(method)
            answers = talk(iter(messages.get, None), metadata=(("x-api-key", "sk-bob"),), timeout=60)
            messages.put(request.SerializeToString())
            assert b"text_output" in next(answers)
            file.write_text('alice = "sk-alice"\n')
            wait_until(lambda: status(server, "sk-bob") == 401)
            messages.put(request.SerializeToString())
            with pytest.raises(grpc.RpcError) as refused:
                list(answers)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            messages.put(None)


def make_certificate(folder: Path, name: str) -> bytes:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={name}"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
    subprocess.run([*command, *files], check=True, capture_output=True)
    return (folder / f"{name}.pem").read_bytes()


def shows(port: int) -> bytes:
    """The certificate that a server has there now."""
    return ssl.get_server_certificate(("127.0.0.1", port)).encode()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made with openssl")
def test_certificates_are_renewed(tmp_path: Path) -> None:
    old, new = make_certificate(tmp_path, "old"), make_certificate(tmp_path, "new")
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    shutil.copy(tmp_path / "old.pem", certificate)
    shutil.copy(tmp_path / "old.key", key)
    rpc = free_port()
    flags = ("--tls-certificate", str(certificate), "--tls-key", str(key), "--tls-client-ca", str(certificate))
    with run_server("--engine", "scripted", *flags, "--grpc-port", str(rpc)) as server:
        port = int(server.address.rpartition(":")[2])
        trusted = ssl.create_default_context(cafile=str(certificate))
        trusted.load_cert_chain(certificate, key)
        with httpx.Client(verify=trusted) as client:
            assert client.get(f"{server.address}/health").status_code == 200
            assert shows(port) == shows(rpc) == old
            # One at a time, as many a tool writes them.
            shutil.copy(tmp_path / "new.pem", certificate)
            wait_until(lambda: "is not the key of" in "".join(server.output))
            assert shows(port) == old
            shutil.copy(tmp_path / "new.key", key)
            wait_until(lambda: shows(port) == new)
            assert shows(rpc) == new
            # A connection that there is goes on.
            assert client.get(f"{server.address}/health").status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.address}/health", verify=trusted)
        renewed = ssl.create_default_context(cafile=str(certificate))
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.address}/health", verify=renewed)
        renewed.load_cert_chain(certificate, key)
        assert httpx.get(f"{server.address}/health", verify=renewed).status_code == 200
        credentials = grpc.ssl_channel_credentials(new, key.read_bytes(), new)
        with grpc.secure_channel(f"localhost:{rpc}", credentials) as channel:
            assert channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=20) == b"\x08\x01"
