from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from portico.checkpoint import CheckpointError, find_checkpoint

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
