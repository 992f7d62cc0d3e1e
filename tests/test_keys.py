"""Keys as operators give them; what cannot be right is one sentence at start, without a key in it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from portico.config import ServerConfig
from portico.core.tenant import NO_QUOTA, Quota, Tenant
from portico.keys import KeyConfigError, Keys
from tests.test_flags import parse

FILE = f"""
alice = "sk-alice"

[bob]
key = ["sk-bob", "sk-bob-of-last-year"]
requests_per_minute = 60
tokens_per_minute = 10_000
max_parallel_requests = 4

[carol]
sha256 = "{hashlib.sha256(b"sk-carol").hexdigest()}"
operator = true
"""


def write(folder: Path, content: str) -> str:
    path = folder / "keys.toml"
    path.write_text(content, encoding="utf-8")
    return str(path)


def find(key: str, *, flags: tuple[str, ...] = (), environment: str | None = None, file: str | None = None) -> Tenant:
    keyring = Keys(flags, environment, file).keyring
    assert keyring is not None
    found = keyring.find(key.encode())
    assert found is not None
    return found


def test_without_keys_there_is_no_ring() -> None:
    assert Keys((), None, None).keyring is None


def test_keys_of_flags_and_of_the_environment_are_the_operators() -> None:
    keyring = Keys(("sk-1", "sk-2", "sk-1"), "sk-3", None).keyring
    assert keyring is not None
    assert keyring.names == ("flag-1", "flag-2", "environment")
    for key in (b"sk-1", b"sk-2", b"sk-3"):
        tenant = keyring.find(key)
        assert tenant is not None
        assert tenant.is_operator
        assert tenant.quota == NO_QUOTA


def test_a_file_of_keys(tmp_path: Path) -> None:
    file = write(tmp_path, FILE)
    assert find("sk-alice", file=file).quota == NO_QUOTA
    bob = find("sk-bob", file=file)
    assert (bob.name, bob.quota, bob.is_operator) == ("bob", Quota(60, 10_000, 4), False)
    assert find("sk-carol", file=file).is_operator
    keyring = Keys((), None, file).keyring
    assert keyring is not None
    assert keyring.find(b"sk-bob") == keyring.find(b"sk-bob-of-last-year")


def test_every_name_has_a_salt_that_is_new_each_time(tmp_path: Path) -> None:
    file = write(tmp_path, FILE)
    salts = [find(key, file=file).cache_salt for key in ("sk-alice", "sk-alice", "sk-bob")]
    assert len(set(salts)) == 3
    assert {len(salt) for salt in salts} == {64}


@pytest.mark.parametrize(
    ("flags", "environment", "reason"),
    [
        (("",), None, "key 1 of --api-key is empty"),
        (("sk-1", "sk 2"), None, "key 2 of --api-key must have"),
        (("schlüssel-x",), None, "printable ASCII"),
        (("s" * 513,), None, "at most 512"),
        ((), "", "PORTICO_API_KEY is empty"),
        ((), "sk-secret\n", "PORTICO_API_KEY must have"),
    ],
)
def test_keys_that_cannot_be_used(flags: tuple[str, ...], environment: str | None, reason: str) -> None:
    with pytest.raises(KeyConfigError, match=reason) as refused:
        Keys(flags, environment, None)
    assert not any(key in str(refused.value) for key in (*flags, environment or "") if key)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "has no API keys"),
        ("sk-secret", "is not a TOML file of API keys"),
        ('alice = "sk-secret', "is not a TOML file of API keys"),
        ('alice = ""', "the key of alice in .* is empty"),
        ("alice = 5", "not a text"),
        ("[alice]", "has neither key nor sha256"),
        ('[alice]\nkey = []\n', "has neither key nor sha256"),
        ('[alice]\nkey = "sk-secret"\nrpm = 5', "has the field rpm, which is not one of key, sha256, operator"),
        ('[alice]\nkey = "sk-secret"\nrequests_per_minute = 0', "requests_per_minute of alice .* at least 1"),
        ('[alice]\nkey = "sk-secret"\ntokens_per_minute = true', "whole number"),
        ('[alice]\nkey = "sk-secret"\noperator = "yes"', "must be true or false"),
        ('[alice]\nsha256 = "abc"', "64 hexadecimal digits"),
        ("[alice]\nsha256 = 5", "64 hexadecimal digits"),
        ('[alice]\nkey = "sk-secret"\npaths = []', "paths of alice .* must begin with /"),
        ('[alice]\nkey = "sk-secret"\npaths = "v1/models"', "paths of alice .* must begin with /"),
        ('[alice]\nkey = "sk-secret"\npaths = ["/v1/*/models"]', "have \\* at the end only"),
        ('[alice]\nkey = "sk-secret"\npaths = [5]', "paths of alice .* must begin with /"),
        ('alice = "sk-secret"\nbob = "sk-secret"', "alice and bob have the same API key"),
        ('"" = "sk-secret"', "a name that is empty"),
        ('environment = "sk-secret"', "has the name environment"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(KeyConfigError, match=reason) as refused:
        Keys((), "sk-other", write(tmp_path, content))
    assert "sk-secret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(KeyConfigError, match=r"cannot read the API keys in .*: No such file"):
        Keys((), None, str(tmp_path / "nothing"))


def test_the_flag_may_be_given_several_times_and_is_not_shown() -> None:
    config = parse(ServerConfig, "--api-key", "sk-1", "--port", "7", "--api-key", "sk-2")
    assert isinstance(config, ServerConfig)
    assert config.api_key == ("sk-1", "sk-2")
    assert "sk-1" not in repr(config)


def test_paths(tmp_path: Path) -> None:
    content = '[chat]\nkey = "sk-chat"\npaths = ["/v1/chat*", "/v1/models"]\n[all]\nkey = "sk-all"\n'
    chat, everything = (find(key, file=write(tmp_path, content)) for key in ("sk-chat", "sk-all"))
    for path, may in (
        ("/v1/chat/completions", True),
        ("/v1/models", True),
        ("/v1/models/{model}", False),
        ("/V1/models", False),
        ("/v1/cha", False),
        ("/generate", False),
        ("", False),
    ):
        assert chat.may_use(path) is may
        assert everything.may_use(path)
