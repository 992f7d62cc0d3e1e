"""How many tokens fit into the time that others may be kept waiting."""

from __future__ import annotations

from portico.engines.native.pace import PrefillPace


def test_before_anything_is_known_chunks_are_small() -> None:
    assert PrefillPace().budget == 16


def test_the_pace_is_a_moving_average() -> None:
    pace = PrefillPace()
    pace.note(10_000, 1.0)
    assert pace.budget == 992
    pace.note(20_000, 1.0)
    assert pace.budget == 1296
    pace.note(3, 100.0)
    assert pace.budget == 1296


def test_those_who_are_used_to_short_steps_wait_less() -> None:
    pace = PrefillPace()
    pace.note(10_000, 1.0)
    pace.note_decode(0.01)
    assert pace.budget == 192
    pace.note_decode(10.0)
    assert pace.budget == 992


def test_chunks_are_never_tiny() -> None:
    pace = PrefillPace()
    pace.note(10_000, 1.0)
    pace.note_decode(0.0001)
    assert pace.budget == 16
