"""How many tokens fit into a time."""

from __future__ import annotations

from portico.engines.native.pace import PrefillPace


def test_before_anything_is_known_chunks_are_small() -> None:
    assert PrefillPace().tokens_within(10.0) == 128


def test_the_pace_is_a_moving_average() -> None:
    pace = PrefillPace()
    pace.note(1000, 1.0)
    assert pace.tokens_within(1.0) == 960
    pace.note(2000, 1.0)
    assert pace.tokens_within(1.0) == 1280
    pace.note(3, 100.0)
    assert pace.tokens_within(1.0) == 1280
    assert pace.tokens_within(0.001) == 128
