"""The official clients of Triton, told nothing but another address."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import queue
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from google.protobuf import descriptor_pool, message_factory
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from portico.dialects.triton.messages import Messages
from tests.end_to_end.server import RunningServer, run_server

pytestmark = [
    pytest.mark.xdist_group("triton"),
    # The clients leave connections to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

MODEL = "demo"
MAX_BODY = 100_000
GREEDY = {"max_tokens": 4, "temperature": 0.0}


@dataclass
class Site:
    """A server with both of its ports."""

    server: RunningServer
    grpc_address: str

    @property
    def http_address(self) -> str:
        return self.server.address.removeprefix("http://")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    port = free_port()
    flags = ("--token-delay", "0.02", "--max-body-size", str(MAX_BODY), "--grpc-port", str(port))
    with run_server("--engine", "scripted", "--served-model-name", MODEL, "org/name", *flags) as server:
        yield Site(server, f"127.0.0.1:{port}")


@pytest.fixture
def http(site: Site) -> Iterator[Any]:
    with tritonclient.http.InferenceServerClient(site.http_address) as client:
        yield client


@pytest.fixture
def rpc(site: Site) -> Iterator[Any]:
    with tritonclient.grpc.InferenceServerClient(site.grpc_address) as client:
        yield client


@pytest.fixture(params=["http", "grpc"])
async def aio(request: pytest.FixtureRequest, site: Site) -> AsyncIterator[Any]:
    """The asynchronous clients, which have the same methods; `module` has the types of their tensors."""
    module: Any = tritonclient.http.aio if request.param == "http" else tritonclient.grpc.aio
    client = module.InferenceServerClient(site.http_address if request.param == "http" else site.grpc_address)
    client.module = module
    yield client
    await client.close()


def text_input(module: Any, text: str = "hello", shape: tuple[int, ...] = (1,), **options: Any) -> Any:
    tensor = module.InferInput("text_input", list(shape), "BYTES")
    tensor.set_data_from_numpy(np.full(shape, text, dtype=object), **options)
    return tensor


def flag_input(module: Any, name: str, value: bool = True) -> Any:
    tensor = module.InferInput(name, [1], "BOOL")
    tensor.set_data_from_numpy(np.array([value]))
    return tensor


def text_of(result: Any, name: str = "text_output") -> str:
    (value,) = result.as_numpy(name).flatten()
    # Answers in JSON have strings where those in binary form have bytes.
    return value if isinstance(value, str) else str(value.decode())


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_health_metadata_and_configuration(kind: str, request: pytest.FixtureRequest) -> None:
    client: Any = request.getfixturevalue("http" if kind == "http" else "rpc")
    as_json = {} if kind == "http" else {"as_json": True}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready("org/name", "1")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata(**as_json)["name"] == "triton"
    metadata = client.get_model_metadata("org/name", **as_json)
    assert metadata["outputs"][0]["name"] == "text_output"
    config = client.get_model_config(MODEL, **as_json)
    config = config if kind == "http" else config["config"]
    assert config["model_transaction_policy"]["decoupled"] is True
    # What a wrapper of this client multiplies to find out how many requests to send at once.
    (group,) = config["instance_group"]
    assert group["count"] * len(group["gpus"]) == 1


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_models_are_not_loaded_by_clients(kind: str, request: pytest.FixtureRequest) -> None:
    client: Any = request.getfixturevalue("http" if kind == "http" else "rpc")
    for call in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="explicit model load / unload is not allowed"):
            call(MODEL)


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_no_shared_memory_and_settings_that_stay(kind: str, request: pytest.FixtureRequest) -> None:
    client: Any = request.getfixturevalue("http" if kind == "http" else "rpc")
    as_json = {} if kind == "http" else {"as_json": True}
    assert not client.get_system_shared_memory_status(**as_json)
    assert not client.get_cuda_shared_memory_status(**as_json)
    client.unregister_system_shared_memory()
    with pytest.raises(InferenceServerException, match="Client shared memory is disabled"):
        client.register_system_shared_memory("region", "/key", 64)
    traces = client.get_trace_settings(MODEL, **as_json)
    logs = client.get_log_settings(**as_json)
    if kind == "grpc":
        traces, logs = traces["settings"], logs["settings"]
        assert traces["trace_level"] == {"value": ["OFF"]}
        assert logs["log_info"] == {"bool_param": True}
    else:
        assert (traces["trace_level"], logs["log_info"]) == (["OFF"], True)
    assert client.update_trace_settings(settings={"trace_level": ["OFF"], "trace_rate": None})
    assert client.update_log_settings({"log_info": True, "log_verbose_level": 0})
    with pytest.raises(InferenceServerException, match="requests are not traced"):
        client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})
    with pytest.raises(InferenceServerException, match="'log_info' is True"):
        client.update_log_settings({"log_info": False})


def test_http_infer_in_every_form(http: Any) -> None:
    module = tritonclient.http
    texts = set()
    for is_binary_in in (True, False):
        for is_binary_out in (True, False):
            result = http.infer(
                MODEL,
                [text_input(module, binary_data=is_binary_in)],
                outputs=[module.InferRequestedOutput("text_output", binary_data=is_binary_out)],
                request_id="42",
                parameters=GREEDY,
            )
            assert result.get_response()["id"] == "42"
            assert ("data" in result.get_output("text_output")) is not is_binary_out
            texts.add(text_of(result))
    assert len(texts) == 1
    assert texts.pop().startswith("hello")


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_http_infer_compressed_both_ways(http: Any, algorithm: str) -> None:
    result = http.infer(
        "org/name",
        [text_input(tritonclient.http)],
        parameters=GREEDY,
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert text_of(result).startswith("hello")


def test_http_infer_with_parameters_of_every_type(http: Any) -> None:
    module = tritonclient.http
    result = http.infer(
        MODEL,
        [text_input(module, shape=(1, 1)), flag_input(module, "exclude_input_in_output")],
        parameters={
            "max_tokens": 3,
            "temperature": 0.5,
            "ignore_eos": True,
            "stop": "never",
            "return_finish_reason": True,
        },
    )
    assert text_of(result, "finish_reason") == "length"
    assert not text_of(result).startswith("hello")


def test_logprobs_fit_the_text(http: Any) -> None:
    module = tritonclient.http
    flags = ("exclude_input_in_output", "return_logprobs", "return_num_output_tokens", "return_cumulative_logprob")
    result = http.infer(
        MODEL,
        [text_input(module), *(flag_input(module, name) for name in flags)],
        parameters={**GREEDY, "logprobs": 2},
    )
    entries = json.loads(text_of(result, "logprobs"))
    assert len(entries) == result.as_numpy("num_output_tokens")[0] == 4
    assert all(len(entry) <= 3 for entry in entries)
    first = [next(iter(entry.values())) for entry in entries]
    assert sum(each["logprob"] for each in first) == pytest.approx(result.as_numpy("cumulative_logprob")[0], rel=1e-5)


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_errors_name_what_is_wrong(kind: str, request: pytest.FixtureRequest) -> None:
    client: Any = request.getfixturevalue("http" if kind == "http" else "rpc")
    module: Any = tritonclient.http if kind == "http" else tritonclient.grpc
    for model, arguments, message in (
        ("nothing", {}, "Request for unknown model: 'nothing' is not found"),
        (MODEL, {"model_version": "3"}, "version 3 is not found"),
        (MODEL, {"parameters": {"temperature": -1.0}}, "`temperature` must be at least 0"),
        (MODEL, {"parameters": {"colour": "red"}}, "Unknown parameter: `parameters.colour`"),
    ):
        with pytest.raises(InferenceServerException, match=message):
            client.infer(model, [text_input(module)], **arguments)
    tensor = flag_input(module, "text")
    with pytest.raises(InferenceServerException, match="unexpected inference input 'text'"):
        client.infer(MODEL, [text_input(module), tensor])


async def test_aio_clients(aio: Any) -> None:
    assert await aio.is_server_live()
    assert await aio.is_server_ready()
    assert await aio.is_model_ready(MODEL)
    assert (await aio.infer(MODEL, [text_input(aio.module)], parameters=GREEDY)).get_response() is not None
    assert text_of(await aio.infer("org/name", [text_input(aio.module)], parameters=GREEDY)).startswith("hello")
    assert await aio.get_inference_statistics(MODEL)
    assert await aio.get_model_repository_index()
    with pytest.raises(InferenceServerException, match="explicit model load / unload is not allowed"):
        await aio.load_model(MODEL)


async def test_aio_stream(site: Site) -> None:
    module: Any = tritonclient.grpc.aio

    async def requests() -> AsyncIterator[dict[str, Any]]:
        for id in ("a", "b"):
            yield {
                "model_name": MODEL,
                "inputs": [text_input(module), flag_input(module, "stream")],
                "request_id": id,
                "parameters": {"max_tokens": 5},
            }

    finals: dict[str, list[bool]] = {"a": [], "b": []}
    async with module.InferenceServerClient(site.grpc_address) as client:
        async for result, error in client.stream_infer(requests()):
            assert error is None
            response = result.get_response()
            finals[response.id].append(response.parameters["triton_final_response"].bool_param)
    assert finals == {"a": [False] * 4 + [True], "b": [False] * 4 + [True]}


class Stream:
    """A stream of the synchronous client; `results` are pairs of result and error."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.results: queue.Queue[Any] = queue.Queue()
        client.start_stream(lambda result, error: self.results.put((result, error)))

    def ask(self, *flags: str, model: str = MODEL, **options: Any) -> None:
        module = tritonclient.grpc
        self.client.async_stream_infer(
            model, [text_input(module), *(flag_input(module, name) for name in flags)], **options
        )

    def next(self) -> Any:
        return self.results.get(timeout=20)


def test_grpc_stream_of_pieces(rpc: Any) -> None:
    stream = Stream(rpc)
    stream.ask(
        "stream", "return_finish_reason", "return_num_output_tokens", request_id="s", parameters={"max_tokens": 5}
    )
    results: list[Any] = []
    while not results or not results[-1].get_response().parameters["triton_final_response"].bool_param:
        result, error = stream.next()
        assert error is None
        results.append(result)
    rpc.stop_stream()
    assert [text_of(each, "finish_reason") for each in results] == ["None"] * 4 + ["length"]
    assert all(each.as_numpy("num_output_tokens")[0] > 0 for each in results)
    assert all(each.get_response().id == "s" for each in results)
    assert not text_of(results[0]).startswith("hello")


def test_grpc_stream_without_pieces_has_one_response(rpc: Any) -> None:
    stream = Stream(rpc)
    stream.ask(enable_empty_final_response=True, parameters=GREEDY)
    result, error = stream.next()
    rpc.stop_stream()
    assert error is None
    assert result.get_response().parameters["triton_final_response"].bool_param
    assert text_of(result).startswith("hello")
    assert stream.results.empty()


def test_grpc_stream_goes_on_after_an_error(rpc: Any) -> None:
    stream = Stream(rpc)
    stream.ask(model="nothing")
    _, error = stream.next()
    assert "unknown model: 'nothing'" in str(error)
    stream.ask(parameters=GREEDY)
    result, error = stream.next()
    rpc.stop_stream()
    assert error is None
    assert text_of(result).startswith("hello")


def test_grpc_stream_ends_with_an_error_if_asked_to(rpc: Any) -> None:
    stream_results: queue.Queue[Any] = queue.Queue()
    rpc.start_stream(lambda result, error: stream_results.put(error), headers={"triton_grpc_error": "true"})
    rpc.async_stream_infer("nothing", [text_input(tritonclient.grpc)])
    assert "NOT_FOUND" in str(stream_results.get(timeout=20))


def test_grpc_cancel_frees_the_engine(rpc: Any, site: Site) -> None:
    stream = Stream(rpc)
    stream.ask("stream", parameters={"max_tokens": 1500, "ignore_eos": True})
    stream.next()
    rpc.stop_stream(cancel_requests=True)
    errors = [error for _, error in list(stream.results.queue) if error is not None]
    assert [error.status() for error in errors] == ["StatusCode.CANCELLED"]
    deadline = time.monotonic() + 5
    while "portico_num_requests_running{" not in (page := httpx.get(f"{site.server.address}/metrics").text) or (
        'portico_num_requests_running{model_name="demo"} 0.0' not in page
    ):
        assert time.monotonic() < deadline, "the request still runs"
        time.sleep(0.05)
    values = dict(line.rsplit(" ", 1) for line in page.splitlines() if line.startswith("nv_inference_"))
    cancelled = 'nv_inference_request_failure{model="demo",reason="CANCELED",version="1"}'
    (statistics,) = rpc.get_inference_statistics(MODEL).model_stats
    assert 1 <= float(values[cancelled]) <= statistics.inference_stats.fail.count


def test_the_tensors_of_a_langchain_wrapper(rpc: Any) -> None:
    """As `langchain-nvidia-trt` sends them: matrices, unsigned counts, a `top_p` of 0."""
    module = tritonclient.grpc
    numbers = (
        ("max_tokens", np.uint32, 5),
        ("top_k", np.uint32, 1),
        ("top_p", np.float32, 0),
        ("temperature", np.float32, 1.0),
        ("length_penalty", np.float32, 1.0),
        ("repetition_penalty", np.float32, 1.0),
        ("random_seed", np.uint64, 42),
        ("beam_width", np.uint32, 1),
    )
    inputs = [text_input(module, shape=(1, 1))]
    for name, kind, value in numbers:
        array = np.array([[value]], dtype=kind)
        inputs.append(module.InferInput(name, [1, 1], np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    inputs.append(module.InferInput("stream", [1, 1], "BOOL"))
    inputs[-1].set_data_from_numpy(np.array([[True]]))
    stream = Stream(rpc)
    rpc.async_stream_infer(MODEL, inputs, outputs=[module.InferRequestedOutput("text_output")], request_id="7")
    text, is_final = "", False
    while not is_final:
        result, error = stream.next()
        assert error is None
        text += text_of(result)
        is_final = result.get_response(as_json=True)["parameters"]["triton_final_response"]["bool_param"]
    rpc.stop_stream()
    assert text


def test_grpc_compression_and_messages_of_the_client(rpc: Any) -> None:
    result = rpc.infer(MODEL, [text_input(tritonclient.grpc)], parameters=GREEDY, compression_algorithm="gzip")
    assert [each.name for each in result.get_response().outputs] == ["text_output"]


def test_grpc_health_protocol(site: Site) -> None:
    with grpc.insecure_channel(site.grpc_address) as channel:
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20) == b"\x08\x01"
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=20)
        assert next(watch) == b"\x08\x01"
        watch.cancel()


def test_grpc_reflection_is_enough_to_ask_the_server(site: Site) -> None:
    """As tools do that have no declarations of their own: first the file, then a message made from it."""
    service = "inference.GRPCInferenceService"
    question = message_factory.GetMessageClass(
        Messages().pool.FindMessageTypeByName("grpc.reflection.v1alpha.ServerReflectionRequest")
    )(file_containing_symbol=service)
    with grpc.insecure_channel(site.grpc_address) as channel:
        ask = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        (answer,) = ask(iter([question.SerializeToString()]), timeout=20)
        described = Messages().decode("ServerReflectionResponse", answer)
        pool = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(described.file_descriptor_response.file_descriptor_proto[0])
        method = pool.FindServiceByName(service).methods_by_name["ModelMetadata"]
        request = message_factory.GetMessageClass(method.input_type)(name=MODEL)
        reply = channel.unary_unary(f"/{service}/ModelMetadata")(request.SerializeToString(), timeout=20)
        metadata = message_factory.GetMessageClass(method.output_type).FromString(reply)
    assert metadata.inputs[0].name == "text_input"


def test_statistics_count_answers(http: Any, rpc: Any) -> None:
    def read() -> tuple[int, int]:
        (of_http,) = http.get_inference_statistics(MODEL)["model_stats"]
        (of_grpc,) = rpc.get_inference_statistics(MODEL).model_stats
        assert of_http["inference_count"] == of_grpc.inference_count
        success = of_http["inference_stats"]["success"]
        return success["count"], success["ns"]

    count, duration = read()
    http.infer(MODEL, [text_input(tritonclient.http)], parameters=GREEDY)
    rpc.infer(MODEL, [text_input(tritonclient.grpc)], parameters=GREEDY)
    with pytest.raises(InferenceServerException):
        http.infer(MODEL, [text_input(tritonclient.http)], parameters={"max_tokens": 0})
    new_count, new_duration = read()
    assert new_count == count + 2
    assert new_duration > duration


def test_the_limit_of_a_body(site: Site) -> None:
    url = f"{site.server.address}/v2/models/{MODEL}/infer"
    entry = {"name": "text_input", "shape": [1], "datatype": "BYTES", "data": ["hi"]}
    body = json.dumps({"inputs": [entry], "parameters": {"max_tokens": 1}}).encode().ljust(MAX_BODY)
    zipped = {"content-encoding": "gzip"}
    assert httpx.post(url, content=body).status_code == 200
    assert httpx.post(url, content=gzip.compress(body), headers=zipped).status_code == 200
    for content, headers in ((body + b" ", {}), (gzip.compress(body + b" "), zipped)):
        refusal = httpx.post(url, content=content, headers=headers)
        assert refusal.status_code == 400
        assert "exceeds the maximum allowed input size of" in refusal.json()["error"]
    assert httpx.get(f"{site.server.address}/v2/health/live").status_code == 200


def test_monstrous_json_does_no_harm(site: Site) -> None:
    url = f"{site.server.address}/v2/repository/index"
    body = b'{"ready":' + b"[" * 45_000 + b"]" * 45_000 + b"}"
    assert httpx.post(url, content=body).status_code == 400
    assert httpx.post(url).json()[0] == {"name": MODEL, "version": "1", "state": "READY"}


async def test_many_streams_at_once(site: Site) -> None:
    """Half of them in pieces and half in one, as the original's race test has it."""

    async def ask(client: httpx.AsyncClient, is_stream: bool) -> int:
        body = {"text_input": "hello", "stream": is_stream, "max_tokens": 3, "ignore_eos": True}
        response = await client.post(f"/v2/models/{MODEL}/generate_stream", json=body)
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        return response.text.count("data: ")

    async with httpx.AsyncClient(base_url=site.server.address, timeout=60) as client:
        counts = await asyncio.gather(*(ask(client, index % 2 == 0) for index in range(100)))
    # The end of a character that was never finished is a piece of its own.
    assert all(count in (3, 4) for count in counts[::2])
    assert counts[1::2] == [1] * 50


def test_metrics_have_the_names_of_dashboards(site: Site, http: Any) -> None:
    http.infer(MODEL, [text_input(tritonclient.http)], parameters=GREEDY)
    page = httpx.get(f"{site.server.address}/metrics").text
    values = dict(line.rsplit(" ", 1) for line in page.splitlines() if line.startswith("nv_inference_"))
    labels = f'{{model="{MODEL}",version="1"}}'
    (statistics,) = http.get_inference_statistics(MODEL)["model_stats"]
    assert float(values[f"nv_inference_request_success{labels}"]) == statistics["inference_count"]
    assert float(values[f"nv_inference_request_duration_us{labels}"]) > 0
    assert f'nv_inference_request_failure{{model="{MODEL}",reason="CANCELED",version="1"}}' in values


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_the_time_limit_of_a_request(kind: str, request: pytest.FixtureRequest) -> None:
    client: Any = request.getfixturevalue("http" if kind == "http" else "rpc")
    module: Any = tritonclient.http if kind == "http" else tritonclient.grpc
    with pytest.raises(InferenceServerException, match=r"was not answered within 0\.1 seconds"):
        client.infer(
            MODEL,
            [text_input(module)],
            priority=1,
            timeout=100_000,
            parameters={"max_tokens": 500, "ignore_eos": True},
        )


def test_pieces_come_as_they_are_made(site: Site) -> None:
    body = {"text_input": "hello", "stream": True, "max_tokens": 20, "ignore_eos": True}
    url = f"{site.server.address}/v2/models/{MODEL}/generate_stream"
    with httpx.stream("POST", url, json=body, timeout=20) as response:
        times = [time.monotonic() for _ in response.iter_raw()]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(times) >= 10
    assert max(gaps) < 1
    assert times[-1] - times[0] > 0.2
