"""Ledgers let through what has its effect, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.core.errors import UnsupportedParameter
from portico.core.ledger import Ledger, honoured, neutral, refused

LEDGER = Ledger(
    title="Test",
    scope="",
    entries=(
        honoured("temperature"),
        neutral("user", "a name for the provider's records"),
        neutral("best_of", "one answer is made per choice", 1),
        neutral("echo", "prompts are not repeated", False),
        refused("suffix", "the model cannot fill in the middle."),
    ),
)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 3.5},
        {"temperature": None},
        {"user": "someone"},
        {"user": {"any": ["thing"]}},
        {"best_of": 1},
        {"best_of": 1.0},
        {"best_of": None},
        {"echo": False},
        {"suffix": None},
    ],
)
def test_passes(fields: dict[str, Any]) -> None:
    LEDGER.check(fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"best_of": 2}, "`best_of` is not supported with the value 2 (accepted: 1): one answer is made per choice"),
        ({"best_of": True}, "`best_of` is not supported with the value true (accepted: 1)"),
        ({"echo": 0}, "`echo` is not supported with the value 0 (accepted: false)"),
        ({"suffix": "x"}, "`suffix` is not supported: the model cannot fill in the middle."),
        ({"suffix": False}, "`suffix` is not supported"),
        ({"temprature": 1}, "Unknown parameter: `temprature`."),
        ({"temprature": None}, "Unknown parameter: `temprature`."),
    ],
)
def test_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        LEDGER.check({"temperature": 1, **fields})
    assert str(caught.value).startswith(message)
    assert caught.value.name == next(iter(fields))


def test_a_long_value_is_repeated_in_part() -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        LEDGER.check({"best_of": {"deep": ["é" * 1000]}})
    assert '{"deep": ["ééé' in str(caught.value)
    assert "é... (accepted: 1)" in str(caught.value)
    assert len(str(caught.value)) < 250


def test_the_scope_is_part_of_the_name() -> None:
    ledger = Ledger("Test", "parameters", (refused("grammar", "no grammars here."),))
    with pytest.raises(UnsupportedParameter) as caught:
        ledger.check({"grammar": {}})
    assert caught.value.name == "parameters.grammar"
    assert str(caught.value) == "`parameters.grammar` is not supported: no grammars here."


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.floats() | st.text() | st.lists(st.integers())))
def test_no_unknown_field_passes(fields: dict[str, Any]) -> None:
    known = {entry.field for entry in LEDGER.entries}
    unknown = [name for name in fields if name not in known]
    if not unknown:
        return
    with pytest.raises(UnsupportedParameter) as caught:
        LEDGER.check({name: fields[name] for name in unknown})
    assert caught.value.name == unknown[0]
