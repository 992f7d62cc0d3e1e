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
