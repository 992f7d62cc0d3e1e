"""Triton's gRPC clients while the server stops, and the names of their calls."""

from __future__ import annotations

import base64
import queue
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc

from portico.dialects.triton.messages import Messages
from tests.end_to_end.server import LONG_SCRIPT, RunningServer, run_server, wait_until_running

pytestmark = [
    pytest.mark.xdist_group("triton"),
    # The clients leave connections to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

MODEL = "portico-demo"
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"


@contextmanager
def rpc_server(*arguments: str) -> Iterator[tuple[RunningServer, str]]:
    """A server with a token every 50 ms, and the address of its gRPC port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    engine = ("--engine", "scripted", "--token-delay", "0.05", "--script", *LONG_SCRIPT)
    with run_server("--grpc-port", str(port), *arguments, *engine) as server:
        yield server, f"127.0.0.1:{port}"


def text_input() -> Any:
    tensor = tritonclient.grpc.InferInput("text_input", [1], "BYTES")
    tensor.set_data_from_numpy(np.full((1,), "hello", dtype=object))
    return tensor


def infer(client: Any, max_tokens: int, **options: Any) -> Any:
    return client.infer(MODEL, [text_input()], parameters={"max_tokens": max_tokens}, **options)


def status_of(call: Future[Any]) -> str:
    error = call.exception()
    assert isinstance(error, tritonclient.grpc.InferenceServerException)
    return str(error.status())


def test_calls_that_were_accepted_are_finished_or_told_why_not() -> None:
    with (
        rpc_server("--drain-timeout", "3") as (server, address),
        tritonclient.grpc.InferenceServerClient(address) as client,
        tritonclient.grpc.InferenceServerClient(address) as streaming,
        ThreadPoolExecutor() as pool,
    ):
        results: queue.Queue[Any] = queue.Queue()
        streaming.start_stream(lambda result, error: results.put((result, error)))
        streaming.async_stream_infer(MODEL, [text_input()], parameters={"max_tokens": 5000, "stream": True})
        short = pool.submit(infer, client, 40)
        endless = pool.submit(infer, client, 5000)
        wait_until_running(server, 3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert client.is_server_live()
        assert not client.is_server_ready()
        assert status_of(pool.submit(infer, client, 4)) == "StatusCode.UNAVAILABLE"
        assert short.result().as_numpy("text_output") is not None
        assert status_of(endless) == "StatusCode.UNAVAILABLE"
        assert server.process.wait(5) == 0
        streaming.stop_stream()
        told, *rest = [error for _, error in list(results.queue) if error is not None]
        assert "stopped while it worked" in str(told)
        # The client has left its stream open: it hears of the end of that too.
        assert len(rest) <= 1


def test_calls_have_names_and_traces() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    contents = {"bytes_contents": [base64.b64encode(b"x").decode()]}
    fields = {
        "model_name": MODEL,
        "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [1], "contents": contents}],
        "parameters": {"max_tokens": {"int64_param": 2}},
    }
    body = Messages().encode("ModelInferRequest", fields)
    with rpc_server() as (server, address), grpc.insecure_channel(address) as channel:
        method = channel.unary_unary(MODEL_INFER)
        metadata = [("x-request-id", "mine-7"), ("traceparent", f"00-{trace}-00f067aa0ba902b7-01")]
        _, call = method.with_call(body, metadata=metadata, timeout=10)
        initial = dict(call.initial_metadata())
        assert initial["x-request-id"] == "mine-7"
        assert initial["traceparent"].startswith(f"00-{trace}-")
        with pytest.raises(grpc.RpcError) as refused:
            method(b"\xff", metadata=metadata, timeout=10)
        assert dict(refused.value.initial_metadata())["x-request-id"] == "mine-7"
        # Both have the one name, and both end.
        calls = [method.future(body, metadata=metadata, timeout=10) for _ in range(2)]
        assert all(call.result() for call in calls)
        for _ in range(200):
            if sum("request_id=mine-7" in line for line in server.output) == 4:
                break
            time.sleep(0.02)
        lines = [line for line in server.output if "request_id=mine-7" in line]
        assert len(lines) == 4
        assert all(f"trace_id={trace}" in line for line in lines)
        assert len({line.split("own_id=")[1].split()[0] for line in lines}) == 4
