from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from portico.checkpoint import CheckpointError, find_checkpoint, read_sampling_defaults

COMMON = ("config.json", "tokenizer.model", "modeling_baichuan.py", "original/consolidated.00.pth")


@pytest.mark.parametrize(
    ("weights", "fetched"),
    [
        (("model.safetensors", "consolidated.safetensors", "pytorch_model.bin"), ["model.safetensors"]),
        (
            ("pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json", "training_args.bin"),
            ["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"],
        ),
    ],
)
def test_weights_are_fetched_from_the_hub_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: tuple[str, ...], fetched: list[str]
) -> None:
    def download(model: str, revision: str | None, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        assert (model, revision) == ("some/model", "v1")
        for name in (*COMMON, *weights):
            wanted = any(fnmatch(name, pattern) for pattern in allow_patterns)
            if wanted and not any(fnmatch(name, pattern) for pattern in ignore_patterns):
                (tmp_path / name).touch()
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    checkpoint = find_checkpoint("some/model", (), "v1")
    assert checkpoint.path == tmp_path
    assert checkpoint.served.name == "some/model"
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(["config.json", "tokenizer.model", *fetched])


def test_what_is_nowhere_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> str:
        raise OSError("no network\nat all")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    (tmp_path / "file").touch()
    for model in ("some/model", str(tmp_path / "file"), str(tmp_path / "not" / "here")):
        with pytest.raises(CheckpointError) as caught:
            find_checkpoint(model, (), None)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("advice", "message"),
    [
        ('{"temperature": NaN}', "advises temperature nan, which is out of its range"),
        ('{"temperature": -5}', "advises temperature -5, which is out of its range"),
        ('{"top_p": 0}', "advises top_p 0, which is out of its range"),
        ('{"top_k": 1.5}', "advises top_k 1.5, which is out of its range"),
        ('{"top_k": Infinity}', "advises top_k inf, which is out of its range"),
        ('{"repetition_penalty": Infinity}', "advises repetition_penalty inf, which is out of its range"),
        ('{"max_new_tokens": 0}', "advises max_tokens 0, which is out of its range"),
        ('{"min_p": "0.1"}', "must have a number for min_p, not '0.1'"),
        ("[" * 200_000, "is not valid JSON"),
        ("[]", "must hold a JSON object"),
    ],
)
def test_advice_that_nobody_could_follow(tmp_path: Path, advice: str, message: str) -> None:
    (tmp_path / "generation_config.json").write_text(advice)
    with pytest.raises(CheckpointError, match=message):
        read_sampling_defaults(tmp_path)
