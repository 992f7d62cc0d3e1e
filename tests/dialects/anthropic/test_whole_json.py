"""Cut arguments as the official client reads them at the end of a stream."""

from __future__ import annotations

import json
from typing import Any

import jiter
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.dialects.anthropic.whole_json import whole_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), st.data())
def test_what_is_cut_is_what_clients_make_of_it(arguments: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(arguments, ensure_ascii=data.draw(st.booleans()))
    assert whole_json(text) == text
    cut = text[: data.draw(st.integers(1, len(text)))]
    assert json.loads(whole_json(cut)) == jiter.from_json(cut.encode(), partial_mode=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "{}"),
        ("{", "{}"),
        ('{"a": 1, "b": tru', '{"a": 1}'),
        ('{"a": [1, {"b": "x"}, "y', '{"a": [1, {"b": "x"}]}'),
        ('{"a": NaN}', "{}"),
        ("[1]", "{}"),
        ("}{", "{}"),
        ('{"a": 1}}', '{"a": 1}'),
    ],
)
def test_what_is_left(text: str, expected: str) -> None:
    assert whole_json(text) == expected
