from __future__ import annotations

import argparse

import pytest

from portico.config import ServerConfig
from portico.engines.native.config import NativeConfig
from portico.flags import add_flags, read_flags


def parse(config: type[ServerConfig | NativeConfig], *arguments: str) -> ServerConfig | NativeConfig:
    parser = argparse.ArgumentParser()
    add_flags(parser, config, "title")
    return read_flags(parser.parse_args(arguments), config)


@pytest.mark.parametrize("config", [ServerConfig, NativeConfig])
def test_no_flags_give_the_defaults(config: type[ServerConfig | NativeConfig]) -> None:
    assert parse(config) == config()


def test_flags_have_the_types_of_their_fields() -> None:
    config = parse(ServerConfig, "--port", "7", "--served-model-name", "a", "b", "--profile", "mindie")
    assert config == ServerConfig(port=7, served_model_name=("a", "b"), profile="mindie")
    assert parse(NativeConfig, "--max-model-len", "9") == NativeConfig(max_model_len=9)


def test_wrong_values_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(ServerConfig, "--profile", "nonsense")
    assert "invalid choice" in capsys.readouterr().err
