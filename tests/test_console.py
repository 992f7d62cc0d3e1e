"""The console writes what it can."""

from __future__ import annotations

import io

from portico.console import Console


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_stream_that_takes_nothing_stops_nobody() -> None:
    console = Console(FullDisk())
    console.show_progress(0.5)
    console.end_progress()
    console.report("config.json", ["one remark"])


def test_remarks_are_written() -> None:
    stream = io.StringIO()
    Console(stream).report("config.json", ["one remark"])
    assert stream.getvalue() == "config.json is followed, except:\n  one remark\n"


def test_progress_ends_before_anything_else_is_written() -> None:
    stream = io.StringIO()
    console = Console(stream)
    for fraction in (0.0, 0.5, 1.0, 1.0):
        console.show_progress(fraction)
    stream.write("a line of the log")
    console.end_progress()
    assert stream.getvalue().endswith("|##########|\na line of the log")
