from __future__ import annotations

import argparse

import pytest

from portico.config import ServerConfig
from portico.engines.native.config import NativeConfig
from portico.flags import FlagError, add_flags, name_flags, read_flags


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


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("4096", 4096),
        ("2G", 2 << 30),
        ("2Gi", 2 << 30),
        ("1.5G", 3 << 29),
        ("512M", 512 << 20),
        ("1K", 1024),
        ("1k", 1000),
        ("25.6k", 25_600),
        ("2g", 2_000_000_000),
        ("1T", 1 << 40),
        ("0.1K", 102),
    ],
)
def test_bytes_may_have_a_unit(given: str, expected: int) -> None:
    assert parse(NativeConfig, "--kv-cache-memory", given) == NativeConfig(kv_cache_memory=expected)
    assert parse(ServerConfig, "--max-body-size", given) == ServerConfig(max_body_size=expected)


@pytest.mark.parametrize("given", ["2GB", "2GiB", "2ki", "2 G", "1.5", "G", "", "2e9", "2X", ".5G", "٢G", "nan"])
def test_other_units_are_refused(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(NativeConfig, "--kv-cache-memory", given)
    said = capsys.readouterr().err
    assert f"argument --kv-cache-memory: {given!r} is no number of bytes, such as 4096, 512M or 1.5G: " in said


def test_every_flag_tells_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, ServerConfig, "server")
    add_flags(parser, NativeConfig, "engine")
    off = {"management_port", "chat_template", "mindie_config", "api_key", "api_key_file", "allowed_host"}
    off |= {"tls_certificate", "tls_key", "tls_client_ca", "help"}
    same_as_another = {"max_total_tokens"}
    silent = {each.dest for each in parser._actions if each.default is not False and "default" not in (each.help or "")}
    assert silent == off | same_as_another


def test_flags_stand_in_groups() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, ServerConfig, "server")
    groups = {each.dest: group.title for group in parser._action_groups for each in group._group_actions}
    assert (groups["host"], groups["max_stop"], groups["tls_key"]) == ("server", "limits", "keys and encryption")


def test_messages_name_flags() -> None:
    message = "max_num_seqs is at least 1, port is a word (kv_cache_memory). /block_size, block_size.json, xblock_size"
    assert name_flags(message, ServerConfig, NativeConfig) == (
        "--max-num-seqs is at least 1, port is a word (--kv-cache-memory). /block_size, block_size.json, xblock_size"
    )
