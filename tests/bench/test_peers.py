"""The comparison with peers, as far as it goes without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.peers.environments import VLLM, find_or_make
from benchmarks.peers.loads import FIRST_TOKEN, INPUT_RATE, LOADS, OUTPUT_RATE
from benchmarks.peers.peers import MAX_STREAMS, MAX_TOKENS, PEERS, Start
from portico.bench.runner import LoadPoint
from portico.bench.shapes import SHAPES
from portico.bench.summary import summarise
from portico.bench.wires import WIRES
from portico.bench.workload import BenchRequest


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_can_be_asked_under_every_load(name: str) -> None:
    peer = PEERS[name]
    for load in LOADS.values():
        config = load.config(peer.dialect, seed=1)
        assert config.num_requests_at(load.streams) >= load.streams
        assert isinstance(peer.extra(load), Mapping)
        assert load.streams <= MAX_STREAMS
        assert load.shared_prefix_len + load.input_len + load.output_len <= MAX_TOKENS
    assert peer.dialect in WIRES
    command = peer.command(Start(Path("/python/bin/python"), Path("/model"), 4242, 2))
    assert any("/model" in part for part in command)
    assert any("4242" in part for part in command)
    assert set(peer.variables(2)) >= {"OMP_NUM_THREADS"}


def test_a_ratio_above_one_is_better() -> None:
    assert OUTPUT_RATE.ratio(ours=30, theirs=10) == 3
    assert INPUT_RATE.ratio(ours=30, theirs=10) == 3
    assert FIRST_TOKEN.ratio(ours=1, theirs=2) == 2


def test_figures_are_those_of_the_point() -> None:
    summary = replace(summarise([]), duration=2.0, num_input_tokens=100, num_output_tokens=10)
    point = LoadPoint("closed", 1, summary)
    assert (INPUT_RATE.of(point), OUTPUT_RATE.of(point)) == (50, 5)


def test_an_environment_is_made_once(tmp_path: Path) -> None:
    folder = tmp_path / VLLM.name
    folder.mkdir()
    (folder / "packages").write_text("\n".join([*VLLM.packages, *VLLM.without_dependencies]))
    assert find_or_make(VLLM, tmp_path) == folder / "bin" / "python"


def test_shapes_suit_the_peers() -> None:
    """GGUF's Q8_0 wants rows of a multiple of 32, and vLLM heads of at least 32."""
    for shape in SHAPES.values():
        assert shape.hidden_size % 32 == shape.ffn_size % 32 == 0
        assert shape.head_dim >= 32
    assert BenchRequest((1,), 2, 3, 0).num_output_tokens == 6
