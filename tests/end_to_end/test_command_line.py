"""The command as an operator meets it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

import portico
from portico.checkpoint import DEMO_PATH
from tests.end_to_end.server import run_server


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command; its second port is off unless asked for, so that tests do not stand in each other's way."""
    needs_no_grpc = arguments[0] == "serve" and "--grpc-port" not in arguments
    return subprocess.run(
        [sys.executable, "-m", "portico", *arguments, *(["--grpc-port", "0"] if needs_no_grpc else [])],
        capture_output=True,
        text=True,
        timeout=100,
        env={"HF_HUB_OFFLINE": "1", "PATH": "", "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
    )


def assert_one_line_error(done: subprocess.CompletedProcess[str], *words: str) -> None:
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("portico: error: ")
    assert "Traceback" not in done.stderr
    assert all(word in last for word in words), last


def copy_demo(tmp_path: Path, **config: object) -> Path:
    copy = tmp_path / "copy"
    shutil.copytree(DEMO_PATH, copy)
    path = copy / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return copy


def test_version_and_help() -> None:
    assert run("--version").stdout == f"portico {portico.__version__}\n"
    text = run("serve", "--help").stdout
    assert all(flag in text for flag in ("--port", "--dtype", "--max-num-seqs", "--served-model-name", "--profile"))
    assert "--token-delay" in run("serve", "--engine", "scripted", "--help").stdout


@pytest.mark.parametrize(
    "flags", [("--max-input-tokens", "32"), ("--max-input-tokens", "40"), ("--max-total-tokens", "99")]
)
def test_limits_above_the_context(tmp_path: Path, flags: tuple[str, str]) -> None:
    """Of the model; what the engine is told to take less of counts too."""
    model = str(copy_demo(tmp_path, max_position_embeddings=32))
    assert_one_line_error(run("serve", model, "--port", "0", *flags), flags[1], "32 tokens")
    if flags[0] == "--max-input-tokens":
        shorter = ("--max-model-len", flags[1])
        assert_one_line_error(run("serve", "--port", "0", *flags, *shorter), *flags, f"{flags[1]} tokens")


def test_one_limit_with_two_lengths() -> None:
    given = ("--max-model-len", "100", "--max-total-tokens", "200")
    assert_one_line_error(run("serve", "--port", "0", *given), *given)


def test_a_taken_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert_one_line_error(run("serve", "--port", str(port)), str(port), "in use")


def test_a_taken_grpc_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert_one_line_error(run("serve", "--port", "0", "--grpc-port", str(port)), str(port), "in use")


@pytest.mark.parametrize("model", ["/no/such/folder", "./nothing", "nobody/nothing"])
def test_no_such_checkpoint(model: str) -> None:
    assert_one_line_error(run("serve", model, "--port", "0"), "no such checkpoint", model)


def test_an_unsupported_architecture_names_the_supported_ones(tmp_path: Path) -> None:
    copy = copy_demo(tmp_path, architectures=["MambaForCausalLM"])
    assert_one_line_error(run("serve", str(copy), "--port", "0"), "MambaForCausalLM", "Qwen2ForCausalLM")


def test_broken_weights(tmp_path: Path) -> None:
    copy = copy_demo(tmp_path)
    (copy / "model.safetensors").write_bytes(b"\x08" + b"\0" * 20)
    assert_one_line_error(run("serve", str(copy), "--port", "0"), "model.safetensors")


def test_weights_of_another_shape(tmp_path: Path) -> None:
    assert_one_line_error(run("serve", str(copy_demo(tmp_path, vocab_size=77)), "--port", "0"), "embed_tokens")


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    nothing, garbage = tmp_path / "nothing.pem", tmp_path / "garbage.pem"
    garbage.write_bytes(b"garbage")
    for certificate, words in ((nothing, "No such file"), (garbage, "are not a certificate and its key")):
        for port in ("0", "1"):
            flags = ("--tls-certificate", str(certificate), "--tls-key", str(garbage), "--grpc-port", port)
            assert_one_line_error(run("serve", "--port", "0", *flags), str(certificate), words)


def test_a_setting_out_of_range() -> None:
    assert_one_line_error(run("serve", "--engine", "scripted", "--max-num-seqs", "0"), "--max-num-seqs")


def test_ready_says_where_what_and_how() -> None:
    with run_server("--engine", "scripted", "--served-model-name", "mine") as server:
        text = "".join(server.output)
        assert all(word in text for word in ("mine", "/v1/chat/completions", "/generate_stream", "/v2", "Try: curl"))
        assert httpx.get(f"{server.address}/v2/health/ready").status_code == 200
        process = server.process
    assert process.returncode == 0


def test_an_address_of_version_6_can_be_copied() -> None:
    with run_server("--engine", "scripted", "--host", "::1") as server:
        assert server.address.startswith("http://[::1]:")
        assert httpx.get(f"{server.address}/health").status_code == 200


def test_answers_are_dated_and_unknown_paths_told() -> None:
    with run_server("--engine", "scripted") as server:
        answer = httpx.post(f"{server.address}/chat/completions", json={})
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == (
        "There is no POST /chat/completions on this server. Did you mean /v1/chat/completions?"
    )
    assert abs(parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()) < 60
