from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.text.stop import StopStrings


def run(pieces: list[str], stops: tuple[str, ...], included: bool) -> tuple[list[str], str | None]:
    strings = StopStrings(stops, included)
    shown = []
    for piece in pieces:
        visible, stop = strings.feed(piece)
        shown.append(visible)
        if stop is not None:
            return shown, stop
    return [*shown, strings.flush()], None


@pytest.mark.parametrize(
    ("pieces", "stops", "shown", "stop"),
    [
        (["ab", "c"], (), "abc", None),
        (["a ST", "OP b"], ("STOP",), "a ", "STOP"),
        (["S", "T", "O", "x"], ("STOP",), "STOx", None),
        (["aXYb"], ("Yb", "XY"), "a", "XY"),
        (["abab", "ac"], ("abac",), "ab", "abac"),
        (["aab"], ("ab", "aab"), "a", "ab"),
        (["end ST"], ("STOP",), "end ST", None),
    ],
)
def test_the_first_to_complete_wins_and_is_hidden(
    pieces: list[str], stops: tuple[str, ...], shown: str, stop: str | None
) -> None:
    visible, found = run(pieces, stops, included=False)
    assert ("".join(visible), found) == (shown, stop)


def test_beginnings_of_a_stop_string_are_held_back() -> None:
    visible, _ = run(["a S", "T", "x"], ("STOP",), included=False)
    assert visible == ["a ", "", "STx", ""]


def test_an_included_stop_string_stays_and_nothing_is_held_back() -> None:
    visible, stop = run(["a photo", "graph", "er x"], ("photographer",), included=True)
    assert (visible, stop) == (["a photo", "graph", "er"], "photographer")


def test_text_before_the_strings_are_armed_cannot_stop() -> None:
    strings = StopStrings(("ab",), included=False)
    assert strings.feed("ab a", is_armed=False) == ("ab a", None)
    assert strings.feed("b") == ("b", None)
    assert strings.feed("ab") == ("", "ab")


@given(
    pieces=st.lists(st.text("abc", max_size=4), max_size=12),
    stops=st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3),
    included=st.booleans(),
)
def test_cutting_does_not_depend_on_the_pieces(pieces: list[str], stops: list[str], included: bool) -> None:
    text = "".join(pieces)
    visible, found = run(pieces, tuple(stops), included)
    ends = [(text.find(stop) + len(stop), position) for position, stop in enumerate(stops) if stop in text]
    if not ends:
        assert ("".join(visible), found) == (text, None)
        return
    end, position = min(ends)
    assert found == stops[position]
    assert "".join(visible) == text[: end if included else end - len(stops[position])]


@pytest.mark.parametrize(
    ("pieces", "stop"),
    [
        (["a ST", "OP"], "STOP"),
        (["a ST", "OPx", " STOP"], "STOP"),
        (["a STOP\n"], "STOP"),
        (["a ST", "OPx"], None),
        (["STOP.\n", "", "b"], None),
    ],
)
def test_a_stop_string_counts_at_the_end_of_a_piece_only(pieces: list[str], stop: str | None) -> None:
    strings = StopStrings(("STOP",), included=True, at_piece_end=True)
    found = [strings.feed(piece) for piece in pieces]
    assert [visible for visible, _ in found] == pieces
    assert found[-1][1] == stop
