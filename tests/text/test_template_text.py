"""Own parts are written in capitals here, content in small letters, so that each character tells what it is."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.text.template_text import MarkingEnvironment, TemplateText, join, own_parts

PIECES = st.lists(st.text("AB ", min_size=1) | st.text("ab \n", min_size=1), max_size=6)
SEPARATORS = st.none() | st.sampled_from(("A", "a", "Ab", "B", "\n", "ab"))


def mixed(pieces: list[str]) -> str:
    return join(TemplateText.of_template(each) if each.strip(" AB") == "" else each for each in pieces)


def capitals(text: str) -> list[str]:
    """The own parts without white space, which either side may have written."""
    return [text[start:end].replace(" ", "") for start, end in own_parts(text)]


def check(text: str) -> None:
    own = own_parts(text)
    assert all(start < end <= len(text) for start, end in own)
    assert all(one[1] < other[0] for one, other in pairwise(own))
    assert all(each.isupper() or not each for each in capitals(text))
    assert sum(map(len, capitals(text))) == sum(map(str.isupper, text))


@given(PIECES, SEPARATORS, st.integers(-1, 3), st.sampled_from((None, "a", "A", " A")))
def test_parts_of_a_text_keep_what_is_own(pieces: list[str], sep: str | None, times: int, chars: str | None) -> None:
    text = mixed(pieces)
    plain = "".join(pieces)
    results: list[tuple[Any, Any]] = [
        (text.strip(chars), plain.strip(chars)),
        (text.lstrip(chars), plain.lstrip(chars)),
        (text.rstrip(chars), plain.rstrip(chars)),
        (text.split(sep, times), plain.split(sep, times)),
        (text.rsplit(sep, times), plain.rsplit(sep, times)),
        (text.splitlines(), plain.splitlines()),
        (text.splitlines(True), plain.splitlines(True)),
    ]
    if sep is not None:
        results += [
            (text.partition(sep), plain.partition(sep)),
            (text.rpartition(sep), plain.rpartition(sep)),
            (text.removeprefix(sep), plain.removeprefix(sep)),
            (text.removesuffix(sep), plain.removesuffix(sep)),
            (text.replace(sep, "x", times), plain.replace(sep, "x", times)),
        ]
    for found, expected in results:
        assert found == expected
        for each in [found] if isinstance(found, str) else found:
            check(each)


@given(PIECES, st.integers(-9, 9), st.integers(-9, 9))
def test_slices_keep_what_is_own(pieces: list[str], start: int, end: int) -> None:
    text, plain = mixed(pieces), "".join(pieces)
    assert text[start:end] == plain[start:end]
    check(text[start:end])
    if plain:
        place = start % len(plain)
        assert text[place] == plain[place]
        assert text[place - len(plain)] == plain[place]
        check(text[place])
        check(text[place - len(plain)])


@given(PIECES, PIECES)
def test_joined_texts_keep_what_is_own(one: list[str], other: list[str]) -> None:
    for text, expected in [
        (mixed(one) + mixed(other), one + other),
        ("x" + mixed(one), ["x", *one]),
        (mixed(one) + "x", [*one, "x"]),
    ]:
        assert text == "".join(expected)
        check(text)
    separator = TemplateText(mixed(one), own_parts(mixed(one)))
    separated = separator.join(["x", mixed(other), "y"])
    assert separated == "".join(one).join(["x", "".join(other), "y"])
    check(separated)


TEMPLATES = {
    "AA{{ x }}BB": ("AAx yBB", "AABB"),
    "{{ 'A' + x ~ 'B' ~ 1 }}": ("Ax yB1", "AB"),
    "{{ ('  A' ~ x ~ ' ')|trim }}": ("Ax y", "A"),
    "{{ ['A', x, 'B']|join('C') }}": ("ACx yCB", "ACCB"),
    "{{ [x, x]|join }}{{ [x, x]|map('trim')|join('A') }}": ("x yx yx yAx y", "A"),
    "{% set n = namespace(v='') %}{% for c in [1, 2] %}{% set n.v = n.v + 'A' + x %}{% endfor %}{{ n.v }}": (
        "Ax yAx y",
        "AA",
    ),
    "{% macro m(y) %}A{{ y }}{% endmacro %}{{ m(x) }}{{ m('B') }}": ("Ax yAB", "AAB"),
    "{% set v %}A{{ x }}{% endset %}{{ v }}": ("Ax y", "A"),
    "{{ ('A B' ~ x).split(' ')[1] }}{{ x.split(' ')[0] }}": ("Bxx", "B"),
    "{{ ('A' ~ x ~ 'B')[1:] }}": ("x yB", "B"),
    "{{ x|replace('x', 'A') }}{{ ('Cz' ~ x)|replace('z', 'A') }}": ("A yCAx y", "CA"),
    "{{ token }}{% if token == 'T' %}{{ 'A' * 3 }}{% endif %}": ("TAAA", "TAAA"),
    "{{ '<%s>' % x }}{{ '<{}>'.format(x) }}{{ x|upper }}{{ ('a' ~ x)|upper }}": ("<x y><x y>X YAX Y", ""),
    "{{ {'A': x}|tojson }}{{ x.strip().rstrip('y') }}": ('{"A": "x y"}x ', ""),
    "{{ 'A' if x.startswith('x') and 'y' in x }}": ("A", "A"),
}


@pytest.mark.parametrize("source", TEMPLATES)
def test_what_a_template_writes_is_its_own(source: str) -> None:
    environment = MarkingEnvironment()
    environment.meter.start()
    text = environment.from_string(source).render(x="x y", token=TemplateText.of_template("T"))
    expected, own = TEMPLATES[source]
    assert text == expected
    assert "".join(text[start:end] for start, end in own_parts(text)) == own
