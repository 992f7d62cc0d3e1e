"""The command as an operator meets it. No test looks at how long something took."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portico.bench import frontend
from portico.bench.command import run_bench
from portico.bench.config import BenchConfig
from portico.bench.frontend import FrontendPoint, frontend_to_json, render_frontend
from portico.bench.limits import MachineLimits, ModelLimits
from portico.bench.memory import MemoryUse, read_memory_use
from portico.bench.plot import render_plot
from portico.bench.report import point_to_json, render_points
from portico.bench.runner import LoadPoint
from portico.bench.server_process import ServerStartFailed, free_port, run_server
from portico.bench.shapes import SHAPES
from portico.bench.summary import Spread, summarise
from portico.bench.workload import BenchRequest
from portico.cli import build_parser, main
from portico.flags import read_flags
from tests.bench.conftest import POISON
from tests.end_to_end.server import RunningServer
from tests.end_to_end.server import run_server as run_checkpoint

SCRIPTED = ("--engine", "scripted", "--vocab-size", "1024")
EMPTY = LoadPoint("closed", 4, summarise([]))


def settings(**changes: Any) -> BenchConfig:
    small = {"input_len": "8", "output_len": "3:5", "num_requests": 6, "warmup": 1, "limits": False}
    return replace(BenchConfig(), **{**small, **changes})


def parse(*flags: str) -> BenchConfig:
    given = ["bench", *flags]
    return read_flags(build_parser(given).parse_args(given), BenchConfig)


def test_flags() -> None:
    config = parse("load", "--load", "open", "--rate", "2", "4.5", "--n", "2", "--input-len", "64:256", "--no-limits")
    assert (config.levels, config.n, config.input_len, config.limits) == ((2.0, 4.5), 2, "64:256", False)
    assert parse().levels == (1, 8, 32)
    assert [parse().num_requests_at(level) for level in (1, 32)] == [8, 128]


@pytest.mark.parametrize(
    "flags",
    [
        ("--output-len", "0"),
        ("--concurrency", "0"),
        ("--rate", "0"),
        ("--dialect", "tgi", "--n", "2"),
        ("--plot", "plot.gif"),
        ("--num-requests", "0"),
        ("--warmup", "-1"),
        ("frontend", "--base-url", "http://127.0.0.1:1"),
        ("--base-url", "ftp://127.0.0.1"),
    ],
)
def test_a_setting_out_of_range(flags: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench", *flags, "--cache-dir", str(tmp_path)]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("portico: error: ")


async def test_a_server_of_its_own(checkpoint: Path, tmp_path: Path) -> None:
    config = settings(
        concurrency=(1, 3),
        cache_dir=str(checkpoint.parent),
        json=str(tmp_path / "figures.json"),
        plot=str(tmp_path / "plot.svg"),
        api_key="secret",
    )
    output, progress = io.StringIO(), io.StringIO()
    assert await run_bench("load", config, SCRIPTED, output, progress) == 0
    assert output.getvalue().startswith("streams")
    assert len(output.getvalue().splitlines()) == 4
    assert "3 streams" in progress.getvalue()
    text = (tmp_path / "figures.json").read_text()
    figures = json.loads(text)
    assert "secret" not in text
    assert [point["level"] for point in figures["points"]] == [1, 3]
    assert all(point["num_output_tokens"] > 0 and point["peak_memory"] > 0 for point in figures["points"])
    assert figures["settings"]["server_flags"] == list(SCRIPTED)
    drawing = xml.etree.ElementTree.parse(tmp_path / "plot.svg").getroot()
    assert drawing.tag.endswith("svg")


async def test_a_server_that_runs_already(server: RunningServer) -> None:
    config = settings(base_url=server.address, load="open", rate=(100.0,), dialect="triton", vocab_size=POISON)
    output = io.StringIO()
    assert await run_bench("load", config, (), output, io.StringIO()) == 0
    assert output.getvalue().startswith("req/s in")


async def test_the_peak_is_judged_by_what_the_server_reports(checkpoint: Path, tmp_path: Path) -> None:
    flags = ("--kv-cache-memory", str(4 << 20), "--num-threads", "1", "--dtype", "float32")
    config = settings(concurrency=(2,), json=str(tmp_path / "figures.json"), cache_dir=str(checkpoint.parent))
    output = io.StringIO()
    assert await run_bench("load", config, flags, output, io.StringIO()) == 0
    [point] = json.loads((tmp_path / "figures.json").read_text())["points"]
    memory = point["memory"]
    num_parameters = SHAPES["tiny"].num_parameters
    # Packed matrices end with whole panels.
    assert 1.0 <= memory["weights"] / (4 * num_parameters) < 1.2
    assert 3 << 20 < memory["kv_cache"] <= 4 << 20
    # With PyTorch in it, and the server's processes are never fewer than those that report.
    assert 100 << 20 < memory["base"] < memory["peak"] <= point["peak_memory"]
    budget = memory["weights"] + memory["kv_cache"]
    assert point["memory_share"] == pytest.approx(point["peak_memory"] / budget)
    assert point["memory_share_without_base"] == pytest.approx((point["peak_memory"] - memory["base"]) / budget)
    headings, _, figures = output.getvalue().splitlines()
    assert "of W+KV  w/o base" in headings
    assert figures.endswith(f"{point['memory_share']:.2f}" + f"{point['memory_share_without_base']:.2f}".rjust(10))


async def test_memory_of_a_server_that_runs_already(checkpoint: Path) -> None:
    with run_checkpoint(str(checkpoint), "--num-threads", "1") as native:
        memory = await read_memory_use(native.address, None)
    assert memory is not None
    assert memory.base < memory.peak


def test_what_is_left_of_a_server_whose_engine_is_gone() -> None:
    memory = MemoryUse(weights=1000, kv_cache=1000, base=300, peak=2500)
    whole = replace(EMPTY, peak_memory=2500, memory=memory)
    assert (whole.memory_share, whole.memory_share_without_base) == (1.25, 1.1)
    left = replace(whole, peak_memory=200)
    assert left.memory_share is left.memory_share_without_base is None


async def test_a_server_that_says_nothing_of_its_memory(server: RunningServer) -> None:
    assert await read_memory_use(server.address, None) is None
    assert await read_memory_use(f"http://127.0.0.1:{free_port()}", None) is None


async def test_failures_are_reported(server: RunningServer) -> None:
    config = settings(base_url=server.address, model="no-such-model", concurrency=(2,))
    output = io.StringIO()
    assert await run_bench("load", config, (), output, io.StringIO()) == 1
    assert "6 failed: status 404" in output.getvalue()


async def test_a_server_that_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no luck'); raise SystemExit(3)"]
    with pytest.raises(ServerStartFailed, match=r"status 3; it wrote:\nno luck"):
        async with run_server(command, f"http://127.0.0.1:{free_port()}", tmp_path / "log"):
            pytest.fail("it is not ready")


def test_the_server_ends_with_the_benchmark(checkpoint: Path) -> None:
    """Also when the benchmark is told to end in its middle."""
    port = free_port()
    command = [sys.executable, "-m", "portico", "bench", "--cache-dir", str(checkpoint.parent), "--no-limits"]
    command += ["--concurrency", "1", "--", *SCRIPTED, "--token-delay", "30"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60
    while not (started := children.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert started
    assert not any(Path(f"/proc/{pid}").exists() for pid in started), port


def test_limits_follow_bytes_and_operations() -> None:
    shape = SHAPES["qwen2.5-0.5b"]
    machine = MachineLimits(2, 30e9, {"int8": 240e9, "float32": 60e9})
    one = [BenchRequest((1,), 33, 1, 0)]
    # 0.494 GB of weights at 30 GB/s are 16.5 ms a step, with little else; 32 steps after the first token.
    assert ModelLimits(shape, "int8", machine).seconds(one, 1, 0) == pytest.approx(32 * 0.0165, rel=0.05)
    # With 32 streams the operations bound it: two for each weight.
    assert ModelLimits(shape, "int8", machine).seconds(one * 32, 32, 0) == pytest.approx(
        32 * 32 * 2 * 0.494e9 / 240e9, rel=0.05
    )
    prompt = [BenchRequest(tuple(range(512)), 1, 1, 0)]
    assert ModelLimits(shape, "float32", machine).seconds(prompt, 1, 0) == pytest.approx(
        512 * 2 * 0.358e9 / 60e9, rel=0.1
    )
    # A shared prefix is evaluated once.
    shared = [BenchRequest(tuple(range(510)), 1, 1, 0)] * 32
    limits = ModelLimits(shape, "float32", machine)
    assert limits.seconds(shared, 32, 500) < limits.seconds(shared, 32, 0) / 10


def test_reports_of_points_without_an_answer() -> None:
    assert "-" in render_points([EMPTY])
    assert point_to_json(EMPTY)["first_token"] == {"median": None, "p99": None, "mean": None}
    assert xml.etree.ElementTree.fromstring(render_plot("a < b", {"nothing": [EMPTY]})) is not None


def test_where_the_points_of_a_plot_are() -> None:
    """Throughput to the right, latency upwards, from zero to a round number; the label is the load."""
    points = []
    for rate, latency in ((2.0, 0.010), (4.0, 0.040)):
        spread = Spread(latency, 2 * latency, latency)
        summary = replace(summarise([]), num_output_tokens=int(100 * rate), duration=1.0, first_token=spread)
        points.append(LoadPoint("open", rate, summary))
    drawing = xml.etree.ElementTree.fromstring(render_plot("open", {"server": points}))
    name = "{http://www.w3.org/2000/svg}"
    places = [(float(each.attrib["cx"]), float(each.attrib["cy"])) for each in drawing.iter(f"{name}circle")]
    lines = list(drawing.iter(f"{name}line"))
    axis = next(each.attrib for each in lines if each.attrib["class"] == "axis")
    left, right, bottom = (float(axis[key]) for key in ("x1", "x2", "y1"))
    top = min(float(each.attrib["y1"]) for each in lines)
    texts = [each.text or "" for each in drawing.iter(f"{name}text")]
    assert {"0", "400", "80"} <= set(texts)
    # 200 and 400 of 400 tokens per second, 10 and 40 of 80 milliseconds, which the tail reaches.
    across, up = right - left, bottom - top
    assert places[0] == pytest.approx((left + across / 2, bottom - up / 8), abs=0.1)
    assert places[1] == pytest.approx((right, bottom - up / 2), abs=0.1)
    assert {"2", "4"} <= set(texts)
    assert any("arrivals per second" in text for text in texts)


async def test_the_front_end_alone(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend, "STREAMS", (1, 4))
    monkeypatch.setattr(frontend, "_NUM_TOKENS", 1000)
    monkeypatch.setattr(frontend, "_NUM_SHORT", 20)
    output = io.StringIO()
    config = settings(cache_dir=str(checkpoint.parent), rounds=1, profile=True)
    assert await run_bench("frontend", config, (), output, io.StringIO()) == 0
    table, _, profile = output.getvalue().partition("Yardstick")
    rows = [line.split() for line in table.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["1", "0"], ["4", "0"], ["4,", "engine"]]
    assert [row[2] for row in rows[:2]] == ["1.0", "1.0"]
    assert "own time" in profile
    assert re.search(r"portico/\w+: \S+ +\d+\.\d%", profile)


def test_the_front_end_table_names_its_yardstick() -> None:
    point = FrontendPoint(4, False, 1.0, (replace(EMPTY, cpu_seconds=0.0),), (replace(EMPTY, cpu_seconds=0.0),))
    assert "112,000 tokens/s" in render_frontend([point])
    assert frontend_to_json(point)["num_streams"] == 4
