"""The request functions of `vllm bench serve`, from vLLM's own file."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest


@pytest.fixture(scope="module")
def functions() -> ModuleType:
    """The file alone: vLLM itself asks for several gigabytes of other packages."""
    package = importlib.util.find_spec("vllm")
    assert package is not None
    assert package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / "benchmarks/lib/endpoint_request_func.py"
    spec = importlib.util.spec_from_file_location("endpoint_request_func", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("backend", "path"),
    [
        ("vllm", "completions"),
        ("openai", "completions"),
        ("openai-chat", "chat/completions"),
        ("openai-responses", "responses"),
    ],
)
def test_requests(base_url: str, functions: ModuleType, backend: str, path: str) -> None:
    async def send() -> list[Any]:
        asked = functions.RequestFuncInput(
            prompt="My name is Olivier and I",
            api_url=f"{base_url}/{path}",
            prompt_len=6,
            output_len=12,
            model="portico-demo",
            ignore_eos=True,
            extra_body={"temperature": 0},
            request_id="bench-1",
        )
        async with aiohttp.ClientSession() as session:
            call = functions.ASYNC_REQUEST_FUNCS[backend]
            return list(await asyncio.gather(*(call(asked, session) for _ in range(4))))

    outputs = asyncio.run(send())
    for output in outputs:
        assert output.success, output.error
        assert output.output_tokens == 12
        assert output.generated_text == outputs[0].generated_text != ""
        assert 0 < output.ttft <= output.latency
        assert output.itl


def test_an_error_is_told(base_url: str, functions: ModuleType) -> None:
    async def send() -> Any:
        asked = functions.RequestFuncInput("hi", f"{base_url}/completions", 1, 4, "no-such-model")
        async with aiohttp.ClientSession() as session:
            return await functions.ASYNC_REQUEST_FUNCS["openai"](asked, session)

    output = asyncio.run(send())
    assert not output.success
    assert output.error
