from __future__ import annotations

import argparse

import pytest

from portico.config import ServerConfig
from portico.engines.native.config import NativeConfig
from portico.flags import FlagError, add_flags, read_flags


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


def test_flags_with_several_values_may_be_given_several_times() -> None:
    config = parse(ServerConfig, "--served-model-name", "a", "b", "--port", "7", "--served-model-name", "c")
    assert config == ServerConfig(port=7, served_model_name=("a", "b", "c"))


def test_a_flag_may_stand_without_its_value() -> None:
    for arguments in (("--literal-content",), ("--literal-content", "chat")):
        assert parse(ServerConfig, *arguments) == ServerConfig(literal_content="chat")
    assert parse(ServerConfig, "--literal-content", "all") == ServerConfig(literal_content="all")


def test_wrong_values_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(ServerConfig, "--profile", "nonsense")
    assert "invalid choice" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--tls-client-ca", "ca.pem"),
        ("--tls-key", "key.pem"),
        ("--max-waiting", "-1"),
        ("--max-stop", "-1"),
        ("--max-client-batch-size", "2"),
    ],
)
def test_settings_that_cannot_take_effect_are_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(FlagError, match=arguments[0].removeprefix("--").replace("-", "_")):
        parse(ServerConfig, *arguments)
