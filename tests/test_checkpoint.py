from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from portico.checkpoint import CheckpointError, read_sampling_defaults
from portico.core.model import NO_ADVICE, SamplingDefaults


def write(folder: Path, content: Any) -> Path:
    (folder / "generation_config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_a_checkpoint_may_advise_nothing(tmp_path: Path) -> None:
    assert read_sampling_defaults(tmp_path) == NO_ADVICE
    assert read_sampling_defaults(write(tmp_path, {"eos_token_id": [1], "do_sample": True})) == NO_ADVICE


def test_advice_is_read(tmp_path: Path) -> None:
    advice = {"temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1, "max_new_tokens": 9}
    expected = SamplingDefaults(temperature=0.7, top_k=20, top_p=0.8, repetition_penalty=1.0, max_tokens=9)
    assert read_sampling_defaults(write(tmp_path, {**advice, "min_p": None})) == expected


@pytest.mark.parametrize("content", ["{", "[1]", {"temperature": "hot"}, {"top_k": [1]}, {"top_p": True}])
def test_broken_advice_stops_the_start(tmp_path: Path, content: Any) -> None:
    with pytest.raises(CheckpointError, match=r"generation_config\.json"):
        read_sampling_defaults(write(tmp_path, content))
